"""The image in the making: what is noted down is on the disk, torn lines are none, nothing is lost in silence."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from array_images import ArrayImage, both_repeating, network, repeating

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.errors import LevelError, NotFiniteError, OutputError, RecipeError, RegionError, UnknownBandError
from hpc_sr.infer import mosaic as making
from hpc_sr.infer import plan as planning
from hpc_sr.infer.mosaic import Mosaic
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.region import Region
from hpc_sr.infer.super_resolve import super_resolve
from hpc_sr.infer.windows import Area, tile_cores
from hpc_sr.tasks import S2X


@pytest.mark.parametrize("seed", range(3))
def test_what_is_written_is_there(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 40, 3))
    values = rng.integers(0, 65_535, shape).astype(np.uint16)
    mosaic = Mosaic(tmp_path / "x.tif", shape, "uint16")
    with mosaic.alone():
        mosaic.prepare({"a": 1}, overwrite=False)
    cores = tile_cores(shape[1], shape[2], 7)
    for rank in (0, 1):
        with mosaic.writer(rank) as writer:
            for number in range(rank, len(cores), 2):
                writer.write(number, values[(slice(None), *cores[number].slices)], cores[number])
    assert mosaic.done() == set(range(len(cores)))
    assert np.array_equal(np.fromfile(mosaic.raw, np.uint16).reshape(shape), values)


def test_a_torn_line_is_none_and_the_next_ones_are_whole(tmp_path: Path) -> None:
    mosaic = Mosaic(tmp_path / "x.tif", (1, 4, 4), "uint16")
    with mosaic.alone():
        mosaic.prepare({}, overwrite=False)
    with mosaic.writer(0) as writer:
        writer.write(12, np.ones((1, 2, 2), np.uint16), Area(0, 0, 2, 2))
        writer.write(345, np.ones((1, 2, 2), np.uint16), Area(2, 2, 2, 2))
    journal = mosaic.folder / "done.0000"
    assert not journal.stat().st_mode & 0o111
    os.truncate(journal, journal.stat().st_size - 3)
    assert mosaic.done() == {12}
    with mosaic.writer(0) as writer:
        writer.write(7, np.ones((1, 2, 2), np.uint16), Area(0, 2, 2, 2))
    assert mosaic.done() == {12, 7}


def test_windows_are_noted_after_their_pixels_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mosaic = Mosaic(tmp_path / "x.tif", (1, 2, 2), "uint16")
    with mosaic.alone():
        mosaic.prepare({}, overwrite=False)
    order = []
    sync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda file: (order.append((file, mosaic.done())), sync(file)))
    with mosaic.writer(0) as writer:
        writer.write(5, np.ones((1, 2, 2), np.uint16), Area(0, 0, 2, 2))
        assert mosaic.done() == set()
        raw = writer._raw
    assert order[0] == (raw, set()) and mosaic.done() == {5}


def test_what_was_begun_otherwise_is_refused_or_replaced(tmp_path: Path) -> None:
    mosaic = Mosaic(tmp_path / "x.tif", (1, 2, 2), "uint16")
    with mosaic.alone():
        mosaic.prepare({"options": 1, "area": 2}, overwrite=False)
    with mosaic.writer(0) as writer:
        writer.write(0, np.ones((1, 2, 2), np.uint16), Area(0, 0, 2, 2))
    with mosaic.alone():
        mosaic.prepare({"options": 1, "area": 2}, overwrite=False)
    assert mosaic.done() == {0}
    with pytest.raises(OutputError, match=r"other settings \(options\)"), mosaic.alone():
        mosaic.prepare({"options": 3, "area": 2}, overwrite=False)
    assert mosaic.done() == {0}
    with mosaic.alone():
        mosaic.prepare({"options": 3, "area": 2}, overwrite=True)
    assert mosaic.done() == set()


def test_two_commands_do_not_make_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "x.tif"
    image, model = ArrayImage(12, 12), repeating(S2X)
    plan = planning.make_plan([model], image, InferOptions())
    mosaic = Mosaic(out, (len(plan.bands), 12, 12), "uint16")
    with mosaic.alone(), pytest.raises(OutputError, match="another command"):
        super_resolve([model], image, out, InferOptions(), SerialComm())
    with monkeypatch.context() as patch, pytest.raises(OutputError, match="another command"):
        patch.setattr(fcntl, "flock", lambda *_: mosaic.remove())  # the other one ends between open and lock
        super_resolve([model], image, out, InferOptions(), SerialComm())
    super_resolve([model], image, out, InferOptions(), SerialComm())
    assert {path.name for path in tmp_path.iterdir()} == {"x.tif", "x.json", "x.qml", "x.png"}


def test_a_full_disk_is_told_and_gone_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, image, models, options = tmp_path / "x.tif", ArrayImage(60, 60), both_repeating(), InferOptions(window_px=12)
    monkeypatch.setattr(making, "_SYNC_EVERY_S", 0.0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10))
    with pytest.raises(OutputError, match="needs 0.2 MB while it is made, 0.0 MB are free"):
        super_resolve(models, image, out, options, SerialComm())
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    monkeypatch.setattr(making, "_SYNC_EVERY_S", 0.0)
    write, left = os.pwrite, iter(range(1000))

    def filling(file: int, data: memoryview, offset: int) -> int:
        if next(left) > 700:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data[:7] if offset // 24 % 2 else data, offset)  # less than asked for is allowed, too

    monkeypatch.setattr(os, "pwrite", filling)
    with pytest.raises(OutputError, match="No space left") as error:
        super_resolve(models, image, out, options, SerialComm())
    assert "free disk space" in str(error.value) and not out.exists()
    monkeypatch.setattr(os, "pwrite", write)
    again = super_resolve(models, image, out, options, SerialComm())
    assert 0 < again.predicted < again.windows
    with rasterio.open(out) as tif:
        assert np.array_equal(tif.read(2), image.dn["B02"])


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    out, image, model = tmp_path / "x.tif", ArrayImage(24, 24), network("dsen2", S2X, 1)
    first = super_resolve([model], image, out, InferOptions(), SerialComm())
    assert first.predicted == first.windows == 1
    before = out.read_bytes()
    assert super_resolve([model], image, out, InferOptions(), SerialComm()).predicted == 0
    other = network("dsen2", S2X, 1, seed=9)
    for models, options in (([other], InferOptions()), ([model], InferOptions(dtype="float32"))):
        with pytest.raises(OutputError, match="exists already"):
            super_resolve(models, image, out, options, SerialComm())
    assert out.read_bytes() == before
    super_resolve([other], image, out, InferOptions(overwrite=True), SerialComm())
    changed = out.read_bytes()
    assert changed != before
    super_resolve([model], image, out, InferOptions(overwrite=True), SerialComm())
    assert out.read_bytes() == before  # the same pixels, the same bytes
    (tmp_path / "y.tif").write_text("somebody's")
    with pytest.raises(OutputError, match="exists already"):
        super_resolve([model], image, tmp_path / "y.tif", InferOptions(), SerialComm())


def test_models_that_do_not_fit_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    model, comm, out = repeating(S2X), SerialComm(), tmp_path / "x.tif"
    image = ArrayImage(24, 24)
    l2a = ArrayImage(24, 24)
    l2a.level = "L2A"
    poor = ArrayImage(24, 24)
    poor.bands = ("B02", "B03", "B04", "B08", "B05")
    outside = InferOptions(region=Region("pixels", (100, 0, 6, 6)))
    for error, models, of, options in (
        (RecipeError, [model, model], image, InferOptions()),
        (LevelError, [model], l2a, InferOptions()),
        (UnknownBandError, [model], poor, InferOptions()),
        (RegionError, [model], image, outside),
        (RecipeError, [model], image, InferOptions(spread=True)),
    ):
        with pytest.raises(error) as found:
            super_resolve(models, of, out, options, comm)
        assert "cure" in str(found.value)
        assert not list(tmp_path.iterdir())
    super_resolve([model], l2a, out, InferOptions(any_level=True), comm)
    assert out.exists()


def test_a_network_that_gives_no_numbers_is_told(tmp_path: Path) -> None:
    model = network("dsen2", S2X, 1)
    model.generator.head.bias.data[:] = float("nan")
    with pytest.raises(NotFiniteError, match="row 0, column 0"):
        super_resolve([model], ArrayImage(24, 24), tmp_path / "x.tif", InferOptions(), SerialComm())
    assert not (tmp_path / "x.tif").exists()
