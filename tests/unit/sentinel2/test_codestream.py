"""The structure of JPEG2000 files: whole or not, and tiles of equal bytes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import rasterio

from hpc_sr.sentinel2.archive import ProductFiles
from hpc_sr.sentinel2.codestream import is_jpeg2000, read_codestream, tile_digests
from hpc_sr.sentinel2.metadata import Grid
from hpc_sr.sentinel2.rasters import Raster

_GRID = Grid(10, 300, 420, 300_000.0, 6_200_040.0, "EPSG:32633")


def _write(path: Path, planes: np.ndarray) -> bytes:
    with rasterio.open(
        path,
        "w",
        driver="JP2OpenJPEG",
        count=len(planes),
        height=300,
        width=420,
        dtype="uint8",
        blockxsize=64,
        blockysize=64,
        QUALITY="100",
        REVERSIBLE="YES",
        YCBCR420="NO",
        YCC="NO",
        crs=_GRID.crs,
        transform=rasterio.Affine(10, 0, _GRID.ulx_m, 0, -10, _GRID.uly_m),
    ) as dataset:
        dataset.write(planes)
    return path.read_bytes()


@pytest.fixture
def marks() -> np.ndarray:
    """Eight layers, almost empty: single pixels, a rectangle, and one layer that is marked everywhere."""
    planes = np.zeros((8, 300, 420), np.uint8)
    planes[2, 7, 9] = planes[2, 299, 419] = planes[4, 100:150, 60:70] = 1
    planes[6] = 1
    return planes


def test_repeated_tiles_read_as_they_are(marks: np.ndarray, tmp_path: Path) -> None:
    _write(tmp_path / "mask.jp2", marks)
    raster = Raster(ProductFiles(tmp_path, "", {"mask.jp2": "mask.jp2"}, {}, False), "mask.jp2", _GRID, 1)
    np.testing.assert_array_equal(raster.read_repeating((3, 5, 7)), marks[[2, 4, 6]])
    np.testing.assert_array_equal(raster.read_repeating(tuple(range(1, 9))), marks)
    raster.close()


def test_a_full_mask_of_equal_tiles_is_decoded_once_a_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = _write(tmp_path / "mask.jp2", np.zeros((1, 300, 420), np.uint8))
    codestream = read_codestream(io.BytesIO(content))
    digests = tile_digests(io.BytesIO(content), codestream)
    kinds = {(digest, *box[2:]) for digest, box in zip(digests, codestream.tile_boxes(), strict=True)}
    # 5 x 7 tiles: those inside, the last row, the last column, the corner.
    assert len(digests) == 35 and len(kinds) == 4


def test_boxes_cover_the_image_once(marks: np.ndarray, tmp_path: Path) -> None:
    codestream = read_codestream(io.BytesIO(_write(tmp_path / "mask.jp2", marks)))
    covered = np.zeros((300, 420), int)
    for row, column, height, width in codestream.tile_boxes():
        covered[row : row + height, column : column + width] += 1
    assert (covered == 1).all()


def test_any_cut_or_gap_breaks_the_chain(marks: np.ndarray, tmp_path: Path) -> None:
    content = _write(tmp_path / "mask.jp2", marks)
    assert is_jpeg2000(io.BytesIO(content)) and read_codestream(io.BytesIO(content)) is not None
    for cut in range(0, len(content), 97):
        assert read_codestream(io.BytesIO(content[:cut])) is None
        assert read_codestream(io.BytesIO(content[:cut] + bytes(len(content) - cut))) is None
    half = len(content) // 2
    assert read_codestream(io.BytesIO(content[:half] + content[half + 10 :])) is None


@pytest.mark.parametrize("name", ["S2A_OPER_MSI_L2A_TL_ATOS_20220620*B01.jp2", "T31TDH_20180101*B01.jp2"])
def test_real_files_are_whole(shared_data: Path, name: str) -> None:
    (path,) = (shared_data / "safe" / "jp2").glob(name)
    with path.open("rb") as stream:
        codestream = read_codestream(stream)
    assert (codestream.height, codestream.width) == (1830, 1830)
