"""The files of a result: who may write them, replace them and remove them, and what is beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from array_images import ArrayImage, both_repeating, network, on_cpu
from made_networks import trained
from rasterio.errors import RasterioError

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.errors import HpcSrError, OutputError
from hpc_sr.infer import super_resolve as product
from hpc_sr.infer.images import Image, OpenBand
from hpc_sr.infer.mosaic import Mosaic
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.pictures import upscale
from hpc_sr.infer.pictures.reading import open_picture
from hpc_sr.infer.pictures.upscale import UpscaleOptions
from hpc_sr.infer.predict import Predictor
from hpc_sr.tasks import RGB, S2X, task_by_name

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def made(
    out: Path, image: Image | None = None, models: list[Predictor] | None = None, **options: object
) -> product.Outcome:
    image = ArrayImage(24, 24) if image is None else image
    return product.super_resolve(models or both_repeating(), image, out, InferOptions(**options), SerialComm())


def upscaled(out: Path, **options: object) -> Path:
    """Up-scale a picture, made beside the result if it is not there yet."""
    source = out.parent / "source.png"
    if not source.exists():
        with rasterio.open(source, "w", driver="PNG", count=3, height=20, width=20, dtype="uint8") as image:
            image.write(np.full((3, 20, 20), 7, np.uint8))
    model = on_cpu(trained(task_by_name("sisr_x2"), 16, units="8 bit", degradation="bicubic", level=""))
    return upscale.upscale(model, open_picture(source, RGB, "8 bit"), out, UpscaleOptions(**options), SerialComm())


#: How a result is made, and the function in which its windows are predicted.
WAYS = [(made, (product, "run_windows")), (upscaled, (upscale, "_upscale_tiles"))]


def first_of_all(monkeypatch: pytest.MonkeyPatch, module: object, name: str, act: Callable[[], None]) -> None:
    """Let something happen just before a function is called for the first time."""
    function = getattr(module, name)

    def acting(*arguments: object, **named: object) -> object:
        monkeypatch.setattr(module, name, function)
        act()
        return function(*arguments, **named)

    monkeypatch.setattr(module, name, acting)


@pytest.mark.parametrize(("make", "predicting"), WAYS)
def test_who_finds_the_result_leaves_what_another_command_works_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable, predicting: tuple[object, str]
) -> None:
    out = tmp_path / "x.tif"
    make(out)
    before = out.read_bytes()
    first_of_all(monkeypatch, *predicting, lambda: make(out))
    make(out, overwrite=True)
    assert out.read_bytes() == before
    Mosaic(out, (1, 1, 1), "uint8").folder.mkdir()  # a kill has left it
    make(out)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("make", "predicting"), WAYS)
def test_who_begins_at_once_with_another_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable, predicting: tuple[object, str]
) -> None:
    out = tmp_path / "x.tif"

    def meanwhile() -> None:
        with pytest.raises(OutputError, match="another command"):
            make(out, format="gtiff", overwrite=True)

    first_of_all(monkeypatch, Mosaic, "prepare", meanwhile)
    first_of_all(monkeypatch, *predicting, meanwhile)
    make(out)
    make(out)
    assert out.exists() and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("make", "predicting"), WAYS)
def test_what_fails_before_anything_is_done_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable, predicting: tuple[object, str]
) -> None:
    def fail() -> None:
        raise HpcSrError("no such band")

    first_of_all(monkeypatch, *predicting, fail)
    with pytest.raises(HpcSrError, match="no such band"):
        make(tmp_path / "x.tif")
    assert {path.name for path in tmp_path.iterdir()} <= {"source.png"}


@pytest.mark.parametrize(("make", "_"), WAYS)
def test_a_link_leads_to_the_result(tmp_path: Path, make: Callable, _: object) -> None:
    (tmp_path / "far").mkdir()
    link, target = tmp_path / "x.tif", tmp_path / "far" / "y.tif"
    link.symlink_to(Path("far") / "y.tif")
    for overwrite in (False, True):
        make(link, overwrite=overwrite)
        assert link.is_symlink() and target.is_file() and not target.is_symlink()
    assert not list(tmp_path.rglob(".*"))


def test_a_json_of_somebody_else_is_kept(tmp_path: Path) -> None:
    out, item = tmp_path / "roi.tif", tmp_path / "roi.json"
    item.write_text('{"type": "Polygon", "properties": {"name": "field"}}')
    with pytest.raises(OutputError, match=r"roi\.json: exists already"):
        made(out)
    assert "field" in item.read_text() and sorted(tmp_path.iterdir()) == [item]
    made(out, overwrite=True)
    assert json.loads(item.read_text())["assets"]["image"]["href"] == "./roi.tif"
    before = out.read_bytes()
    item.write_text("{}")  # once the image is there nothing is to be written over it
    assert made(out).predicted == 0
    assert (item.read_text(), out.read_bytes()) == ("{}", before)


@pytest.mark.parametrize("suffix", [".qml", ".png"])
def test_a_style_or_picture_of_somebody_else_is_kept(tmp_path: Path, suffix: str) -> None:
    out, path = tmp_path / "x.tif", tmp_path / f"x{suffix}"
    path.write_bytes(b"somebody's")
    with pytest.raises(OutputError, match=rf"x\{suffix}: exists already"):
        made(out)
    assert path.read_bytes() == b"somebody's" and not out.exists()
    made(out, overwrite=True)
    mine = path.read_bytes()
    assert mine != b"somebody's"
    path.write_bytes(b"changed in QGIS")  # once the image is there nothing is to be written over it
    (tmp_path / "x.json").unlink()
    assert made(out).predicted == 0
    assert (path.read_bytes(), (tmp_path / "x.json").exists()) == (b"changed in QGIS", True)
    path.unlink()
    made(out)
    assert path.read_bytes() == mine


def test_no_picture_where_none_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"somebody's")
    made(tmp_path / "x.tif", overview=False)
    assert (tmp_path / "x.png").read_bytes() == b"somebody's"
    assert list(json.loads((tmp_path / "x.json").read_text())["assets"]) == ["image"]


def test_the_item_is_of_the_image_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, item = tmp_path / "x.tif", tmp_path / "x.json"
    made(out)
    before, told = out.read_bytes(), item.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise RasterioError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(rasterio.shutil, "copy", full)
        with pytest.raises(OutputError, match="no space left"):
            made(out, overwrite=True, dtype="float32")
    assert (out.read_bytes(), item.read_bytes()) == (before, told)
    made(out, overwrite=True, dtype="float32")  # goes on
    changed = item.read_bytes()
    assert changed != told
    for left in (None, told):  # a kill between image and item, without an item from before and with one
        item.unlink() if left is None else item.write_bytes(left)
        assert made(out, dtype="float32").predicted == 0
        assert item.read_bytes() == changed


def test_an_image_of_no_known_time_says_that_it_has_no_item(tmp_path: Path, log_lines: list[str]) -> None:
    image = ArrayImage(24, 24)
    image.sensing_time = ""
    (tmp_path / "x.json").write_text("somebody's")
    made(tmp_path / "x.tif", image)
    assert len([line for line in log_lines if "no STAC item" in line]) == 1
    assert (tmp_path / "x.json").read_text() == "somebody's"


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_an_image_of_nodata_warns_once(tmp_path: Path, log_lines: list[str], dtype: str) -> None:
    image = ArrayImage(24, 24)
    for name in image.bands[4:]:
        image.dn[name][:] = 0
    made(tmp_path / "one.tif", image, [network("dsen2", S2X, 1)], dtype=dtype)
    assert len([line for line in log_lines if "no pixel" in line]) == 1
    image.dn["B12"][-1, -1] = 5_000
    made(tmp_path / "two.tif", image, [network("dsen2", S2X, 1)], dtype=dtype)
    assert len([line for line in log_lines if "no pixel" in line]) == 1


def test_the_order_of_models_does_not_matter(tmp_path: Path) -> None:
    made(tmp_path / "x.tif", models=both_repeating())
    assert made(tmp_path / "x.tif", models=both_repeating()[::-1]).predicted == 0
    made(tmp_path / "y.tif", models=both_repeating()[::-1])
    assert (tmp_path / "x.tif").read_bytes() == (tmp_path / "y.tif").read_bytes()


class Nowhere(ArrayImage):
    """An image whose reference system means nothing where it lies: its pixels are fine, its footprint is none."""

    def __init__(self) -> None:
        super().__init__(24, 24)
        self.grids = {gsd: replace(grid, ulx_m=1e12) for gsd, grid in self.grids.items()}


class LostLater(ArrayImage):
    """An image that cannot be read any more once its result is there."""

    def __init__(self, out: Path) -> None:
        super().__init__(24, 24)
        self.out = out

    def open(self, name: str) -> OpenBand:
        if self.out.exists():
            raise RuntimeError("lost")
        return super().open(name)


def timeless() -> ArrayImage:
    image = ArrayImage(24, 24)
    image.sensing_time = "nan"
    return image


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (lambda _: Nowhere(), "its STAC item failed .*cannot be placed"),
        (lambda _: timeless(), "its STAC item failed .*'nan', which is no time"),
        (LostLater, r"its check failed \(RuntimeError: lost\)"),
    ],
    ids=["no footprint", "no time", "no check"],
)
def test_a_finished_image_is_not_sunk_by_what_comes_after(tmp_path: Path, image: Callable, told: str) -> None:
    out = tmp_path / "x.tif"
    source = image(out)
    for attempt in range(2):
        with pytest.raises(OutputError, match=f"x.tif: is finished, but {told}"):
            made(out, source, check=True)
        with rasterio.open(out) as tif:
            assert tif.read().any()
        assert {path.name for path in tmp_path.iterdir()} <= {"x.tif", "x.json", "x.qml", "x.png"}
        if attempt == 0:
            before = out.stat().st_mtime_ns
    assert out.stat().st_mtime_ns == before, "the image is not made again"


@pytest.mark.parametrize("failure", [ZeroDivisionError, KeyboardInterrupt, HpcSrError])
def test_no_failure_before_anything_is_done_leaves_anything(tmp_path: Path, failure: type[BaseException]) -> None:
    image = ArrayImage(24, 24)

    def fail(_: str) -> OpenBand:
        raise failure("before anything is done")

    image.open = fail  # type: ignore[method-assign]
    with pytest.raises(failure):
        made(tmp_path / "x.tif", image)
    assert not list(tmp_path.iterdir())


def test_no_result_is_written_over_what_it_is_made_from_or_into_it(tmp_path: Path) -> None:
    product, image = tmp_path / "A.SAFE", ArrayImage(24, 24)
    (product / "GRANULE").mkdir(parents=True)
    source, link = tmp_path / "x.tif", tmp_path / "link.tif"
    source.write_bytes(b"somebody's")
    link.symlink_to(source)
    hard, beside = tmp_path / "hard.tif", tmp_path / "beside.json"
    hard.hardlink_to(source)
    beside.write_bytes(b"somebody's")
    style = tmp_path / "style.qml"
    style.write_bytes(b"somebody's")
    image.sources = (product, source, beside, style)
    for out in (
        product / "y.tif",
        product / "GRANULE" / "y.tif",
        product / "GRANULE" / ".." / "y.tif",
        tmp_path / "B.SAFE" / "y.tif",
        tmp_path / "C.safe",
        source,
        link,
        hard,
        tmp_path / "beside.tif",
        tmp_path / "style.tif",
    ):
        with pytest.raises(OutputError, match="would be written (over|into)"):
            made(out, image, overwrite=True)
    assert source.read_bytes() == beside.read_bytes() == b"somebody's" and link.is_symlink()
    assert not list(tmp_path.rglob("*.partial"))
    picture = upscaled(tmp_path / "p.tif").parent / "source.png"
    with pytest.raises(OutputError, match="would be written over"):
        upscaled(picture, overwrite=True)
    assert upscaled(picture.with_suffix(".tif")).exists(), "a picture's result has nothing beside it"
    assert made(tmp_path / "fine.tif", image).predicted


def test_a_pipe_under_the_name_of_the_result_is_no_result(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.tif")
    with pytest.raises(OutputError, match="exists already"):
        made(tmp_path / "x.tif")
