"""Pixels of products: what is read is what was written, and what is torn is never read."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from data_prep.synthetic import Scene, write_product
from hpc_sr.errors import MissingFileError, RasterError, UnknownBandError
from hpc_sr.sentinel2 import rasters
from hpc_sr.sentinel2.archive import ProductFiles
from hpc_sr.sentinel2.metadata import Grid
from hpc_sr.sentinel2.safe import BandReader, Product, open_product

Products = dict[tuple[str, str], Path]


@pytest.mark.parametrize("window", [(0, 0, 1, 1), (7, 100, 30, 26), (80, 0, 13, 126)])
def test_windows_are_cuts_of_the_whole(products: Products, scene: Scene, window: tuple[int, int, int, int]) -> None:
    row, column, height, width = window
    with BandReader(open_product(products["L1C", "05.09"])) as reader:
        cut = reader.dn("B11", window)
        reflectance, bad = reader.reflectance("B11", window)
    expected = scene.dn["B11"][row : row + height, column : column + width]
    np.testing.assert_array_equal(cut, expected + 1000)
    np.testing.assert_allclose(reflectance, expected / 10_000, atol=1e-7)
    assert reflectance.shape == bad.nodata.shape == bad.saturated.shape == (height, width)
    assert not bad.any.any()


@pytest.mark.parametrize("baseline", ["02.08", "05.09"])
@pytest.mark.parametrize("name", ["B03", "B12"])
def test_masks_of_windows_are_cuts_of_the_whole(scene: Scene, tmp_path: Path, baseline: str, name: str) -> None:
    """At 10 m the class of a 20 m pixel, which baselines before 04.00 have, is met at odd offsets too."""
    dn = {key: band.copy() for key, band in scene.dn.items()}
    dn["B03"][31:36, 47:50] = dn["B12"][20:23, 30] = 65535
    product = open_product(write_product(tmp_path, Scene(dn), level="L2A", baseline=baseline))
    with BandReader(product) as reader:
        whole = reader.reflectance(name)[1]
        assert whole.saturated.any()
        for row, column, height, width in ((15, 23, 20, 31), (16, 24, 7, 8), (33, 48, 1, 1), (0, 41, 90, 9)):
            cut = reader.reflectance(name, (row, column, height, width))[1]
            np.testing.assert_array_equal(cut.saturated, whole.saturated[row : row + height, column : column + width])


def test_reflectance_takes_each_band_s_own_offset(spoilt: Callable[..., Path], scene: Scene) -> None:
    edit = ("MTD_MSIL1C.xml", '<RADIO_ADD_OFFSET band_id="3">-1000', '<RADIO_ADD_OFFSET band_id="3">-2000')
    with BandReader(open_product(spoilt(edit))) as reader:
        np.testing.assert_allclose(reader.reflectance("B04")[0], scene.dn["B04"] / 10_000 - 0.1, atol=1e-6)
        np.testing.assert_allclose(reader.reflectance("B03")[0], scene.dn["B03"] / 10_000, atol=1e-6)


def test_bands_that_a_product_lacks_are_refused(products: Products) -> None:
    with BandReader(open_product(products["L2A", "05.09"])) as reader:
        for name in ("B10", "B13", "SCL"):
            with pytest.raises(UnknownBandError, match=f"{name}.*\n.*B8A"):
                reader.dn(name)


def test_a_missing_band_file_is_named(spoilt: Callable[..., Path]) -> None:
    product = open_product(spoilt())
    product.where("B05").unlink()
    with BandReader(product) as reader, pytest.raises(MissingFileError, match="B05.jp2"):
        reader.dn("B05")


def _in_tiles(file: Path, edge_px: int = 64) -> None:
    """Write a band again in small JPEG2000 tiles, as a full product has many."""
    with rasterio.open(file) as dataset:
        pixels, profile = dataset.read(), dataset.profile
    profile |= {"blockxsize": edge_px, "blockysize": edge_px, "QUALITY": "100", "REVERSIBLE": "YES", "NBITS": 15}
    with rasterio.open(file, "w", **profile) as dataset:
        dataset.write(pixels)


@pytest.mark.parametrize("tiled", [False, True])
def test_a_torn_file_is_never_read(spoilt: Callable[..., Path], tiled: bool) -> None:
    product = open_product(spoilt())
    file = product.where("B08")
    if tiled:
        _in_tiles(file)
    whole = file.read_bytes()
    cuts = [*(int(len(whole) * share) for share in np.linspace(0, 0.99, 23)), *(len(whole) - k for k in (1, 2, 3, 50))]
    torn = [whole[:cut] for cut in cuts]
    torn += [whole[:cut] + bytes(len(whole) - cut) for cut in cuts if cut < len(whole) - 2]
    for content in torn:
        file.write_bytes(content)
        with BandReader(product) as reader, pytest.raises(RasterError) as caught:
            reader.dn("B08", (0, 0, 6, 6))
        assert caught.value.where == file and "again" in caught.value.cure


def test_strips_are_the_whole_and_a_gap_between_tiles_is_told(
    spoilt: Callable[..., Path], scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rasters, "_STRIP_ROWS", 64)
    product = open_product(spoilt())
    file = product.where("B08")
    _in_tiles(file)
    with BandReader(product) as reader:
        np.testing.assert_array_equal(reader.dn("B08"), scene.dn["B08"] + 1000)
        np.testing.assert_array_equal(reader.dn("B08", (50, 3, 130, 200)), scene.dn["B08"][50:180, 3:203] + 1000)
    content = file.read_bytes()
    half = len(content) // 2
    # As long as before and with its end marker, but 2000 bytes are gone from the middle.
    file.write_bytes(content[:half] + content[half + 2000 : -2] + bytes(2000) + content[-2:])
    with BandReader(product) as reader, pytest.raises(RasterError, match="stops before its end"):
        reader.dn("B08")


@pytest.mark.parametrize("content", [b"", b"no raster at all", bytes(4096)])
def test_what_is_no_raster_is_refused(spoilt: Callable[..., Path], content: bytes) -> None:
    product = open_product(spoilt())
    product.where("B02").write_bytes(content)
    with BandReader(product) as reader, pytest.raises(RasterError, match="no readable raster"):
        reader.dn("B02")


def test_a_raster_of_another_size_is_refused(spoilt: Callable[..., Path]) -> None:
    product = open_product(spoilt())
    product.where("B02").write_bytes(product.where("B05").read_bytes())
    with BandReader(product) as reader, pytest.raises(RasterError, match="is 93 x 126 px, the metadata say 186 x 252"):
        reader.dn("B02")


def test_a_quality_mask_without_its_layer_is_refused(spoilt: Callable[..., Path]) -> None:
    product = open_product(spoilt())
    (footprint,) = product.path.rglob("MSK_DETFOO_B02.jp2")
    product.source.where(product.masks["QUALIT"]["B02"]).write_bytes(footprint.read_bytes())
    with BandReader(product) as reader, pytest.raises(RasterError, match="has 1 layers, not 8"):
        reader.reflectance("B02")


def test_files_are_closed_at_the_end(products: Products) -> None:
    with BandReader(open_product(products["L1C", "05.09"])) as reader:
        reader.dn("B01")
        (raster,) = reader._rasters.values()
        dataset = raster._dataset
        assert not dataset.closed
    assert dataset.closed


@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_real_rasters_of_zeros_are_all_nodata(shared_data: Path, level: str) -> None:
    (path,) = (shared_data / "safe").glob(f"S2B_MSI{level}_20230823*.SAFE")
    with BandReader(open_product(path)) as reader:
        for name, window in (("B01", None), ("B8A", (5000, 100, 300, 5390)), ("B02", (10_000, 10_000, 980, 980))):
            reflectance, bad = reader.reflectance(name, window)
            assert bad.nodata.all() and not bad.saturated.any() and np.isnan(reflectance).all()


def test_real_rasters_of_the_wrong_size_are_refused(shared_data: Path, tmp_path: Path) -> None:
    (tiny,) = (shared_data / "safe").glob("S2A_MSIL2A_20180818*.SAFE")
    with BandReader(open_product(tiny)) as reader, pytest.raises(RasterError, match="5490 x 5490"):
        reader.dn("B05")
    (archive,) = (shared_data / "safe").glob("S2A_MSIL1C_20171207*.zip")
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path, [n for n in file.namelist() if n.endswith((".jp2", "MSIL1C.xml", "MTD_TL.xml"))])
    small = open_product(tmp_path / f"{archive.stem}.SAFE")
    with BandReader(small) as reader, pytest.raises(RasterError, match="is 172 x 172 px"):
        reader.dn("B02")


@pytest.fixture(params=["S2A_OPER_MSI_L2A_TL_ATOS_20220620*B01.jp2", "T31TDH_20180101*B01.jp2"])
def real_b01(request: pytest.FixtureRequest, shared_data: Path, products: Products) -> Product:
    """A product whose B01 is a real full-tile JPEG2000, written by the agency's own encoder."""
    (file,) = (shared_data / "safe" / "jp2").glob(request.param)
    with rasterio.open(file) as dataset:
        corner, crs = dataset.transform, dataset.crs.to_string()
    return _with_b01(open_product(products["L1C", "02.08"]), file, Grid(60, 1830, 1830, corner.c, corner.f, crs))


def _with_b01(product: Product, file: Path, grid: Grid) -> Product:
    """Return the product with another file as its only band."""
    source = ProductFiles(file.parent, "", {file.name.lower(): file.name}, {}, zipped=False)
    return dataclasses.replace(product, source=source, files={"B01": file.name}, grids={**product.grids, 60: grid})


def test_a_real_jpeg2000_is_read_in_strips(real_b01: Product) -> None:
    with rasterio.open(real_b01.where("B01")) as dataset:
        expected = dataset.read(1)
    with BandReader(real_b01) as reader:
        np.testing.assert_array_equal(reader.dn("B01"), expected)
    assert 0 < (expected == 0).mean() < 1 and expected.std() > 100


@pytest.mark.parametrize("share", [0.01, 0.4, 0.999, None])
def test_a_real_jpeg2000_that_is_torn_is_never_read(real_b01: Product, tmp_path: Path, share: float | None) -> None:
    content = real_b01.where("B01").read_bytes()
    torn = tmp_path / "torn_B01.jp2"
    torn.write_bytes(content[:-1] if share is None else content[: int(len(content) * share)])
    with BandReader(_with_b01(real_b01, torn, real_b01.grids[60])) as reader, pytest.raises(RasterError):
        reader.dn("B01")
