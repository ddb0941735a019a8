"""The real products that others publish for their tests: each is read as it says, or refused for what is wrong.

Most hold real metadata over rasters that were emptied or shrunk, so the two contradict each other in known ways.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio

from hpc_sr.errors import MetadataError, MissingFileError, RasterError
from hpc_sr.sentinel2.bands import BANDS
from hpc_sr.sentinel2.pairs import synthesis_pair
from hpc_sr.sentinel2.safe import BandReader, Product, open_product, open_products
from hpc_sr.tasks import S2X, S6X

_ZIP = "S2A_MSIL1C_20171207*.zip"
_COMPACT_01_03, _COMPACT_02_08 = "S2A_MSIL1C_test.SAFE", "S2A_MSIL2A_20180818*.SAFE"
_MULTI = "S2A_OPER_PRD_MSIL1C.SAFE"
_FULL_L1C, _FULL_L2A = "S2B_MSIL1C_20230823*.SAFE", "S2B_MSIL2A_20230823*.SAFE"
#: By product: level, satellite, baseline, tiles, quantification, offset, (nodata, saturated), upper-left corner.
_SAID = {
    _ZIP: ("L1C", "S2A", "02.06", ("55JEJ",), 10_000, 0, (0, 65535), (499_980, 6_900_040), "EPSG:32755"),
    _COMPACT_01_03: ("L1C", "S2A", "01.03", ("32TQR",), 1000, 0, (1, 0), (699_960, 5_100_060), "EPSG:32632"),
    _COMPACT_02_08: ("L2A", "S2A", "02.08", ("34VFJ",), 10_000, 0, (0, 6), (600_000, 6_400_020), "EPSG:32634"),
    _MULTI: ("L1C", "S2A", "01.03", ("32TQR", "32TRQ"), 1000, 0, (1, 0), (699_960, 5_100_060), "EPSG:32632"),
    _FULL_L1C: ("L1C", "S2B", "05.09", ("34UCF",), 10_000, -1000, (0, 65535), (300_000, 6_100_020), "EPSG:32634"),
    _FULL_L2A: ("L2A", "S2B", "05.09", ("34UCF",), 10_000, -1000, (0, 65535), (300_000, 6_100_020), "EPSG:32634"),
}
_WITHOUT_URI = (_COMPACT_01_03, _MULTI)
_ALL = pytest.mark.parametrize("name", _SAID, ids=lambda name: name[:26])


def _path(shared_data: Path, name: str) -> Path:
    (path,) = (shared_data / "safe").glob(name)
    return path


def test_every_product_of_the_folder_is_told_of_here(shared_data: Path) -> None:
    there = {path for path in (shared_data / "safe").iterdir() if path.name != "jp2"}
    assert there == {_path(shared_data, name) for name in _SAID}
    with pytest.raises(MissingFileError, match="holds no MTD_MSI"):
        open_products(shared_data / "safe" / "jp2")


@_ALL
def test_metadata_are_those_of_the_product(shared_data: Path, name: str) -> None:
    path = _path(shared_data, name)
    level, satellite, baseline, tiles, quantification, offset, special, corner, crs = _SAID[name]
    found = open_products(path)
    assert tuple(product.tile for product in found) == tiles
    for product in found:
        assert (product.level, product.satellite, product.processing_baseline) == (level, satellite, baseline)
        assert product.quantification_value == quantification
        assert {product.radiometric_offset[band] for band in product.files} == {offset}
        assert (product.nodata_dn, product.saturated_dn) == special
        assert {gsd: grid.height for gsd, grid in product.grids.items()} == {10: 10980, 20: 5490, 60: 1830}
        assert set(product.files) == set(BANDS) - ({"B10"} if level == "L2A" else set())
        assert product.path == path
        granule = f"S2A_OPER_MSI_L1C_TL_MTI__20151231T235959_A000123_T{product.tile}_N01.03"
        assert product.name == (granule if name in _WITHOUT_URI else path.stem)
    first = found[0].grids[60]
    assert (first.ulx_m, first.uly_m, first.crs) == (*corner, crs)


def test_a_product_of_two_tiles_asks_which(shared_data: Path) -> None:
    with pytest.raises(MetadataError, match="32TQR.*32TRQ"):
        open_product(_path(shared_data, _MULTI))


def test_the_two_tiles_of_the_old_product_have_their_own_files(shared_data: Path) -> None:
    first, second = open_products(_path(shared_data, _MULTI))
    assert {name: file.replace("TQR", "TRQ") for name, file in first.files.items()} == second.files
    assert first.files["B02"].endswith("N01.03/IMG_DATA/S2A_OPER_MSI_L1C_T32TQR_B02.jp2")
    assert second.grids[10].ulx_m == 800_000
    assert all(product.where(name).is_file() for product in (first, second) for name in BANDS)


@_ALL
def test_each_band_is_read_or_refused(shared_data: Path, name: str) -> None:
    """Emptied rasters of the right size are no measurement; those of another size do not belong to the metadata."""
    for product in open_products(_path(shared_data, name)):
        with BandReader(product) as reader:
            for band in product.files:
                wrong = {_ZIP: {10: 172, 20: 86, 60: 29}, _COMPACT_02_08: {10: 1830, 20: 1830}}.get(name, {}).get(
                    BANDS[band].gsd_m
                )
                if wrong:
                    with pytest.raises(RasterError, match=f"is {wrong} x {wrong} px, the metadata say"):
                        reader.dn(band, (0, 0, 6, 6))
                elif not (name == _COMPACT_02_08 and BANDS[band].gsd_m == 10):
                    reflectance, bad = reader.reflectance(band, (100, 200, 300, 400))
                    # In the oldest metadata 0 stands for saturation and 1 for nodata.
                    told = bad.saturated if product.saturated_dn == 0 else bad.nodata
                    assert told.all() and np.isnan(reflectance).all()


@pytest.mark.parametrize("name", [_ZIP, _COMPACT_02_08])
@pytest.mark.parametrize("task", [S2X, S6X], ids=lambda task: task.name)
def test_no_pair_comes_of_rasters_that_contradict_the_metadata(shared_data: Path, name: str, task) -> None:
    with pytest.raises(RasterError, match="the metadata say 10980 x 10980 px"):
        synthesis_pair(open_product(_path(shared_data, name)), task, "wald")


def test_a_whole_product_of_nothing_is_all_nodata(shared_data: Path) -> None:
    limits = {"nodata": 0.0, "saturated": 0.0, "lost": 0.0, "cloud": 0.1}
    pair = synthesis_pair(open_product(_path(shared_data, _FULL_L2A)), S6X, "wald", limits)
    assert pair.shape == (1830, 1830) and pair.marks["nodata"].all()
    assert not any(mask.any() for reason, mask in pair.marks.items() if reason != "nodata")


def test_masks_that_were_left_out_of_a_product_are_missed(shared_data: Path) -> None:
    product = open_product(_path(shared_data, _COMPACT_01_03))
    with BandReader(product) as reader, pytest.raises(MissingFileError, match="MSK_DEFECT"):
        reader.regions("DEFECT", "B01")


def test_real_polygons_are_read_from_the_zip(shared_data: Path) -> None:
    product = open_product(_path(shared_data, _ZIP))
    with BandReader(product) as reader:
        detectors = [region.detector for region in reader.regions("DETFOO", "B02")]
        assert detectors == sorted(detectors) == [7, 8, 9, 10, 11, 12]
        west, east, south, north = 499_980, 609_780, 6_790_240, 6_900_040
        for band in ("B02", "B05", "B12"):
            for region in reader.regions("DETFOO", band):
                for x, y in region.rings[0]:
                    assert west - 1 <= x <= east + 1 and south - 1 <= y <= north + 1
        (kind,) = {region.kind for region in reader.regions("NODATA", "B12")}
        assert kind == "QT_PARTIALLY_CORRECTED_PIXELS"
        for told_nothing in ("DEFECT", "SATURA", "TECQUA"):
            assert reader.regions(told_nothing, "B06") == []
        assert reader.regions("CLOUDS") == []


def _on_its_own_grid(shared_data: Path, folder: Path, sides: dict[int, int]) -> Product:
    """Return the real zip's product, unpacked, with the rasters cut to nest and the metadata set to their sizes."""
    archive = _path(shared_data, _ZIP)
    shutil.unpack_archive(archive, folder)
    root = folder / f"{archive.stem}.SAFE"
    (granule,) = root.glob("GRANULE/*/MTD_TL.xml")
    text = granule.read_text("utf-8")
    for gsd_m, full in ((10, 10980), (20, 5490), (60, 1830)):
        text = text.replace(f"<NROWS>{full}<", f"<NROWS>{sides[gsd_m]}<")
        text = text.replace(f"<NCOLS>{full}<", f"<NCOLS>{sides[gsd_m]}<")
    granule.write_text(text, "utf-8")
    for name, band in BANDS.items():
        (file,) = root.glob(f"GRANULE/*/IMG_DATA/*_{name}.jp2")
        with rasterio.open(file) as dataset:
            pixels = dataset.read(1)[: sides[band.gsd_m], : sides[band.gsd_m]]
        with rasterio.open(
            file, "w", driver="GTiff", height=pixels.shape[0], width=pixels.shape[1], count=1, dtype="uint16"
        ) as dataset:
            dataset.write(pixels, 1)
    return open_product(root)


def test_real_pixels_with_metadata_of_their_size_make_a_pair(shared_data: Path, tmp_path: Path) -> None:
    """Real lossy measurements, real metadata, real vector masks: only the sizes are set right."""
    product = _on_its_own_grid(shared_data, tmp_path, {10: 168, 20: 84, 60: 28})
    limits = {"nodata": 0.0, "saturated": 0.0, "defective": 0.0, "cloud": 0.1, "detector_seam": 0.0}
    pair = synthesis_pair(product, S2X, "mtf", limits)
    assert pair.shape == (84, 84)
    with rasterio.open(product.where("B05")) as dataset:
        np.testing.assert_array_equal(pair.layers["target"][0], dataset.read(1))
    assert 500 < pair.layers["x10"].mean() < 5000
    assert not pair.marks.get("nodata", np.zeros(1)).any()
