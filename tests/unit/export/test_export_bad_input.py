"""Torn files, folders without weights, full disks: typed errors, and nothing half-written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from made_networks import saved

from hpc_sr.errors import ArchitectureError, CheckpointError, OutputError, RecipeError
from hpc_sr.export.folder import Export, write_export
from hpc_sr.export.runs import export_run, parse_formats
from hpc_sr.weights.card import read_card
from hpc_sr.weights.tensors import read_tensors
from hpc_sr.weights.trained import load_trained, restore_generator

Make = Callable[..., Export]


@pytest.fixture
def exported(small_model: Make, tmp_path: Path) -> Path:
    return write_export(small_model("s2x", "s2x", 16), tmp_path / "out", ("safetensors",))


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.5, 0.9999])
def test_torn_weights_are_a_typed_error(exported: Path, share: float) -> None:
    file = exported / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=r"is damaged: model.safetensors differ"):
        load_trained(exported)
    with pytest.raises(CheckpointError, match=r"model.safetensors: cannot be read"):
        read_tensors(file)


def test_a_bit_that_turned_is_found(exported: Path) -> None:
    """It would load as well as any other number."""
    file = exported / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"is damaged: model.safetensors differ"):
        load_trained(exported)


@pytest.mark.parametrize("listed", ["text", [1], {"model.safetensors": {"bytes": 5}}], ids=str)
def test_checksums_that_are_none_are_a_typed_error(exported: Path, listed: object) -> None:
    card = exported / "card.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "files": listed}))
    with pytest.raises(CheckpointError, match="has checksums that cannot be read"):
        load_trained(exported)


def test_weights_of_another_network_are_a_typed_error(exported: Path, small_model: Make, tmp_path: Path) -> None:
    other = write_export(small_model("dsen2", "s2x", 16), tmp_path / "other", ("safetensors",))
    (other / "model.safetensors").replace(exported / "model.safetensors")
    with pytest.raises(CheckpointError, match="is damaged"):
        load_trained(exported)
    with pytest.raises(ArchitectureError, match="belongs to another network"):
        restore_generator(read_card(exported), exported / "model.safetensors")


def test_an_export_without_weights_says_how_to_get_them(small_model: Make, tmp_path: Path) -> None:
    out = write_export(small_model("dsen2", "s2x", 16), tmp_path / "out", ("torch",))
    with pytest.raises(CheckpointError, match="holds a card and no weights") as caught:
        load_trained(out)
    assert "safetensors" in str(caught.value)


def test_a_run_without_a_checkpoint_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        export_run(tmp_path, None, None)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    with pytest.raises(OutputError, match="is there already"):
        export_run(tmp_path, None, None)


def test_formats_are_known_names() -> None:
    assert parse_formats("onnx, torch,onnx") == ("onnx", "torch")
    for wrong in ("keras", "", "onnx,,torch", "ONNX"):
        with pytest.raises(RecipeError, match="unknown format"):
            parse_formats(wrong)


def test_a_checkpoint_folder_is_exported_with_the_weights_it_holds(small_model: Make, tmp_path: Path) -> None:
    model = small_model("s2x", "s6x", 12)
    checkpoint = saved(tmp_path / "step_00000007", model.trained)
    again = load_trained(export_run(checkpoint, tmp_path / "deep" / "out", "safetensors"))
    assert again.card == model.card
    wanted = model.generator.state_dict()
    assert again.generator.state_dict().keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in again.generator.state_dict().items())


_FULL_DISK = """
import resource, sys
from pathlib import Path
from hpc_sr.errors import OutputError
from hpc_sr.export.runs import export_run
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for name in ("safetensors", "torch", "onnx"):
    try:
        export_run(Path(sys.argv[1]), Path(sys.argv[2]) / name, name)
    except OutputError as error:
        print(name, error)
"""


def test_a_disk_that_fills_up_leaves_nothing(small_model: Make, tmp_path: Path) -> None:
    model = small_model("dsen2", "s2x", 16)
    checkpoint, outs = saved(tmp_path / "checkpoint", model.trained), tmp_path / "outs"
    outs.mkdir()
    command = [sys.executable, "-W", "ignore", "-c", _FULL_DISK, str(checkpoint), str(outs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("cannot be written") == 3, done.stdout + done.stderr
    assert list(outs.iterdir()) == []
