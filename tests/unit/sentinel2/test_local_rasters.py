"""What somebody gives us to read is a file of this machine that holds its own pixels: nothing leads elsewhere."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.transform import from_origin

from data_prep.image_files import read_image
from hpc_sr.errors import ImageError, RasterError
from hpc_sr.evaluate.protocols.external_images import open_image
from hpc_sr.infer.pictures.reading import open_picture
from hpc_sr.infer.stack import StackImage
from hpc_sr.sentinel2.local_rasters import open_local
from hpc_sr.sentinel2.safe import BandReader, open_product
from hpc_sr.tasks import RGB

ROOT = Path(__file__).resolve().parents[3]


def external(path: Path) -> int:
    with open_image(path, "dn") as image:
        return image.count


READERS = {
    "stack": lambda path: len(StackImage([path]).bands),
    "picture": lambda path: len(open_picture(path, RGB, None).bands),
    "external image": external,
    "training image": lambda path: len(read_image(path, 3).pixels),
}
Read = Callable[[Path], int]


@pytest.fixture
def port() -> Iterator[socket.socket]:
    """A port that a reader could knock on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        yield listening


def tif(path: Path, **profile: object) -> Path:
    place = {"crs": "EPSG:32632", "transform": from_origin(399_960, 5_000_040, 10, 10), "nodata": 0}
    size = {"driver": "GTiff", "count": 3, "height": 12, "width": 12, "dtype": "uint16"}
    with rasterio.open(path, "w", **size | place | profile) as image:
        image.write(np.full((3, *image.shape), 7, np.uint16))
        image.descriptions, image.scales = ("B02", "B03", "B04"), (1e-4,) * 3
    return path


def vrt(folder: Path) -> Path:
    rasterio.shutil.copy(tif(folder / "x.tif"), folder / "y.vrt", driver="VRT")
    return (folder / "y.vrt").rename(folder / "y.tif")


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "x.tif")
    return folder / "x.tif"


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


WRONG = {
    "absent": lambda folder: folder / "absent.tif",
    "a folder": lambda folder: folder,
    "a pipe": fifo,
    "a VRT": vrt,
    "empty": lambda folder: written(folder / "x.tif", b""),
    "text": lambda folder: written(folder / "x.tif", b"no raster"),
    "another format": lambda folder: tif(folder / "x.tif", driver="ENVI"),
    "only a beginning": lambda folder: written(folder / "x.tif", tif(folder / "y.tif").read_bytes()[:100]),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_such_file_is_refused_by_name(tmp_path: Path, read: Read, wrong: str) -> None:
    path = WRONG[wrong](tmp_path)
    with pytest.raises((ImageError, RasterError)) as error:
        read(path)
    assert error.value.where == path and error.value.cure


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("form", ["http://{}/x.tif", "/vsicurl/http://{}/x.tif", "/vsicurl_streaming/http://{}/x.tif"])
def test_nothing_is_fetched_from_an_address(read: Read, form: str, port: socket.socket) -> None:
    address = Path(form.format(f"127.0.0.1:{port.getsockname()[1]}"))
    with pytest.raises(ImageError, match="no file on a local disk"):
        read(address)
    with pytest.raises(BlockingIOError):
        port.accept()


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_local_file_is_read_also_by_a_name_like_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Read
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zip:").mkdir()
    for name in ("x.tif", "zip:/x.tif", "GTIFF_DIR:1:x.tif"):
        assert read(tif(tmp_path / name).relative_to(tmp_path)) == 3


def test_an_array_of_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.npy")
    with pytest.raises(ImageError, match="is a pipe"):
        external(tmp_path / "x.npy")


def test_nothing_beside_a_file_leads_elsewhere(tmp_path: Path) -> None:
    path = tif(tmp_path / "x.tif", height=512, width=512)
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as image:
        image.build_overviews([2])
    (tmp_path / "x.tif.aux.xml").write_text("<PAMDataset><Metadata/></PAMDataset>")
    assert (tmp_path / "x.tif.ovr").exists()
    with open_local(path, ("GTiff",)) as image:
        assert image.overviews(1) == [2]
    away = {
        ".ovr": "<VRTDataset/>",
        ".msk": "<VRTDataset/>",
        ".aux.xml": '<PAMDataset><Metadata><MDI key="OVERVIEW_FILE">/etc/x</MDI></Metadata></PAMDataset>',
    }
    for suffix, text in away.items():
        companion = tmp_path / f"x.tif{suffix}"
        companion.write_text(text)
        with pytest.raises(ImageError, match="may lead to another file") as error:
            open_local(path, ("GTiff",))
        assert error.value.where == companion
        companion.unlink()


@pytest.mark.parametrize("suffix", [".ovr", ".msk", ".aux.xml"])
def test_nothing_beside_a_band_of_a_product_leads_elsewhere(products, tmp_path: Path, suffix: str) -> None:
    product = open_product(shutil.copytree(products["L1C", "05.09"], tmp_path / "x.SAFE"))
    band = product.where("B04")
    companion = band.with_name(f"{band.name}{suffix}")
    companion.write_text("<PAMDataset><Metadata/></PAMDataset>" if suffix == ".aux.xml" else "")
    if suffix == ".aux.xml":  # viewers leave such files with statistics
        with BandReader(product) as reader:
            assert reader.dn("B04").any()
    companion.write_text("<VRTDataset><MDI>OVERVIEW_FILE</MDI></VRTDataset>")
    with BandReader(product) as reader, pytest.raises(RasterError, match="may lead to another file") as error:
        reader.dn("B04")
    assert error.value.where == companion


def test_all_that_rasterio_raises_is_caught_by_one_name() -> None:
    """GDAL's own errors pass some of rasterio's doors as they are: who catches its errors alone lets them through."""
    own = ("RasterioError", "CPLE_BaseError", "RasterioIOError")
    files = [path for room in ("hpc_sr", "data_prep") for path in (ROOT / room).rglob("*.py")]
    naming = {path.name for path in files if any(name in path.read_text("utf-8") for name in own)}
    assert naming == {"local_rasters.py"}
