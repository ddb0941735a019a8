"""Files that a disk or a person has damaged: whoever reads them says so, or does without, whatever they hold now."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from made_networks import saved, trained

from data_prep.options import SplitOptions
from data_prep.splits import assign_splits
from hpc_sr.disk import partial_of
from hpc_sr.errors import HpcSrError
from hpc_sr.evaluate.evaluation import write_evaluation
from hpc_sr.evaluate.metrics.lpips import Lpips
from hpc_sr.evaluate.metrics.niqe import NiqeModel
from hpc_sr.evaluate.protocols.external_images import open_image
from hpc_sr.export.provenance import provenance_of
from hpc_sr.infer.beside import digest_in
from hpc_sr.infer.mosaic import Mosaic
from hpc_sr.infer.windows import Area
from hpc_sr.report.page import write_page
from hpc_sr.report.run_directory import read_run
from hpc_sr.report.thesis.tables import write_thesis_tables
from hpc_sr.tasks import S2X
from hpc_sr.weights.folder import find_checkpoint, find_damage
from hpc_sr.weights.keras import read_keras_weights
from hpc_sr.weights.trained import load_trained

#: What a file may hold instead of what was written. A reader that waits for a pipe hangs here.
DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\0\x80" * 30),
    "deep": lambda path: path.write_text("[" * 200_000),
    "a list": lambda path: path.write_text("[1, 2]"),
    "other names": lambda path: path.write_text('{"properties": 3, "files": [], "schema": 2, "key": "k", "scene": 7}'),
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
}


def note(path: Path) -> None:
    """Begin a mosaic with a finished window, whose key or journal lies at a path."""
    mosaic = Mosaic(path.parent.with_name("x.tif"), (1, 2, 2), "uint16")
    with mosaic.alone():
        mosaic.prepare({"a": 1}, overwrite=False)
    with mosaic.writer(0) as writer:
        writer.write(0, np.ones((1, 2, 2), np.uint16), Area(0, 0, 2, 2))


def go_on_with(path: Path) -> None:
    mosaic = Mosaic(path.parent.with_name("x.tif"), (1, 2, 2), "uint16")
    with mosaic.alone():
        mosaic.prepare({"a": 1}, overwrite=False)


def open_array(path: Path) -> None:
    with open_image(path, "dn"):
        pass


#: Where a file lies below a folder, and who reads it: None or another answer, or an error of ours.
READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "STAC item": ("x.json", digest_in),
    "key of a mosaic": (".x.tif.partial/key.json", go_on_with),
    "journal of a mosaic": (".x.tif.partial/done.0001", go_on_with),
    "environment": ("run/environment.json", lambda path: read_run(path.parent)),
    "evaluation": ("run/evaluate/synthesis.json", lambda path: read_run(path.parent.parent)),
    "history": ("run/environment.json", lambda path: provenance_of(path.parent, trained(S2X, 16).card)),
    "scores of a history": ("run/evaluate/a.json", lambda path: provenance_of(path.parents[1], trained(S2X, 16).card)),
    "card": ("run/card.json", lambda path: load_trained(path.parent)),
    "weights": ("run/generator.pt", lambda path: load_trained(path.parent)),
    "checksums": ("run/SHA256SUMS", lambda path: load_trained(path.parent)),
    "checksums of a run": ("run/SHA256SUMS", lambda path: find_damage(path.parent)),
    "clock": ("run/checkpoints/step_1/state.json", lambda path: find_checkpoint(path.parents[2])),
    "best": ("run/checkpoints/best.json", lambda path: find_checkpoint(path.parents[1])),
    "NIQE": ("x.npz", NiqeModel.load),
    "NIQE's authors": ("x.mat", NiqeModel.load),
    "LPIPS": ("x.pth", lambda path: Lpips.load(path, path, None)),
    "Keras": ("x.h5", read_keras_weights),
    "array": ("x.npy", open_array),
    "list of a split": ("x.txt", lambda path: assign_splits([], SplitOptions(test=(str(path),)))),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_damaged_is_told_or_done_without(tmp_path: Path, reader: str, damage: str) -> None:
    name, read = READERS[reader]
    path = tmp_path / name
    if path.parent.name == "run":
        saved(path.parent, trained(S2X, 16))
    if path.parent.name.endswith(".partial"):
        note(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    DAMAGES[damage](path)
    try:
        read(path)
    except HpcSrError as error:
        assert error.cure
    # A clock or a history is done without; what everything depends on is not.
    else:
        assert reader not in ("card", "weights", "checksums", "NIQE", "LPIPS", "Keras", "array", "environment")


#: What writes a file into a folder, and the file's name.
WRITERS: dict[str, Callable[[Path], object]] = {
    "synthesis.json": lambda folder: write_evaluation({}, folder / "synthesis.json"),
    "report.html": lambda folder: write_page(folder / "report.html", ""),
    "thesis": partial(write_thesis_tables, []),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_a_killed_process_left_of_a_file_goes_when_it_is_written(tmp_path: Path, name: str) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, other = (tmp_path / f".{left}.{socket.gethostname()}-{ended.pid}.partial" for left in (name, "other"))
    far = tmp_path / f".{name}.elsewhere-{ended.pid}.partial"
    for left in (dead, other, far):
        left.mkdir()
    WRITERS[name](tmp_path)
    assert not dead.exists() and other.exists() and far.exists()
    assert not partial_of(tmp_path / name).exists()
