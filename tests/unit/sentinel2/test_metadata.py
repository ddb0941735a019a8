"""Metadata of real products, and of products whose metadata were spoilt on purpose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_sr.errors import MetadataError, MissingFileError, UnknownSatelliteError
from hpc_sr.sentinel2.bands import BANDS
from hpc_sr.sentinel2.metadata import Grid
from hpc_sr.sentinel2.rasters import affine
from hpc_sr.sentinel2.safe import open_product, open_products

_PRODUCT_XML, _GRANULE_XML = "MTD_MSIL1C.xml", "MTD_TL.xml"


@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_a_real_product_of_baseline_05_09(shared_data: Path, level: str) -> None:
    (path,) = (shared_data / "safe").glob(f"S2B_MSI{level}_20230823*.SAFE")
    product = open_product(path)
    assert (product.level, product.processing_baseline, product.satellite) == (level, "05.09", "S2B")
    assert (product.tile, product.name) == ("34UCF", path.stem)
    assert product.sensing_time.startswith("2023-08-23T10:05:35")
    assert product.quantification_value == 10_000
    assert product.radiometric_offset == dict.fromkeys(BANDS, -1000.0)
    assert (product.nodata_dn, product.saturated_dn) == (0, 65535)
    for gsd_m, side in ((10, 10980), (20, 5490), (60, 1830)):
        assert product.grids[gsd_m] == Grid(gsd_m, side, side, 300_000.0, 6_100_020.0, "EPSG:32634")
    assert set(product.files) == set(BANDS) - ({"B10"} if level == "L2A" else set())
    assert set(product.masks["QUALIT"]) == set(product.masks["DETFOO"]) == set(BANDS)
    assert set(product.masks["CLASSI"]) == {""}
    assert all(product.source.has(f) for f in (*product.files.values(), *product.masks["QUALIT"].values()))
    assert (product.scene_class is not None) == (level == "L2A")


def test_l2a_copies_at_coarser_grids_are_left_alone(shared_data: Path) -> None:
    (path,) = (shared_data / "safe").glob("S2B_MSIL2A_20230823*.SAFE")
    for name, file in open_product(path).files.items():
        assert file.endswith(f"_{name}_{BANDS[name].gsd_m}m.jp2")
        assert Path(file).parent.name == f"R{BANDS[name].gsd_m}m"


def test_a_real_product_before_04_00_has_no_offset(shared_data: Path) -> None:
    (path,) = (shared_data / "safe").glob("S2A_MSIL2A_20180818*.SAFE")
    product = open_product(path / "MTD_MSIL2A.xml")
    assert (product.level, product.processing_baseline, product.satellite) == ("L2A", "02.08", "S2A")
    assert product.tile == "34VFJ"
    assert product.radiometric_offset == dict.fromkeys(BANDS, 0.0)
    assert "QUALIT" not in product.masks
    assert product.scene_class.endswith("SCL_20m.jp2")


def test_a_complete_real_product_of_the_south_is_read_in_its_zip(shared_data: Path) -> None:
    (archive,) = (shared_data / "safe").glob("S2A_MSIL1C_20171207*.zip")
    product = open_product(archive)
    assert (product.name, product.processing_baseline, product.tile) == (archive.stem, "02.06", "55JEJ")
    assert product.grids[20] == Grid(20, 5490, 5490, 499_980.0, 6_900_040.0, "EPSG:32755")
    assert product.radiometric_offset["B10"] == 0
    assert set(product.masks) == {"CLOUDS", "DEFECT", "DETFOO", "NODATA", "SATURA", "TECQUA"}


def test_a_real_product_of_the_old_format_is_a_product_a_tile(shared_data: Path) -> None:
    first, second = open_products(shared_data / "safe" / "S2A_OPER_PRD_MSIL1C.SAFE")
    assert (first.tile, second.tile) == ("32TQR", "32TRQ")
    # It says no PRODUCT_URI: the granule's own id is its name.
    assert first.name == "S2A_OPER_MSI_L1C_TL_MTI__20151231T235959_A000123_T32TQR_N01.03"
    assert all(first.source.has(file) for file in first.files.values()) and len(first.files) == 13
    with pytest.raises(MetadataError, match="2 tiles: 32TQR, 32TRQ"):
        open_product(shared_data / "safe" / "S2A_OPER_PRD_MSIL1C.SAFE")


def test_an_unknown_satellite_is_refused_even_under_its_real_metadata(spoilt: Callable[..., Path]) -> None:
    with pytest.raises(UnknownSatelliteError, match="Sentinel-2D"):
        open_product(spoilt((_PRODUCT_XML, "Sentinel-2B", "Sentinel-2D")))


def test_each_band_has_its_own_offset(spoilt: Callable[..., Path]) -> None:
    path = spoilt((_PRODUCT_XML, '<RADIO_ADD_OFFSET band_id="10">-1000', '<RADIO_ADD_OFFSET band_id="10">-2000'))
    offsets = open_product(path).radiometric_offset
    assert offsets.pop("B10") == -2000
    assert set(offsets.values()) == {-1000.0}


def test_names_and_dates_decide_nothing(spoilt: Callable[..., Path]) -> None:
    path = spoilt((_PRODUCT_XML, "2023-06-15", "2016-02-14"))
    renamed = path.rename(path.with_name("S2A_MSIL2A_20160214_N0201.SAFE"))
    product = open_product(renamed)
    assert (product.level, product.satellite, product.processing_baseline) == ("L1C", "S2B", "05.09")
    assert product.radiometric_offset["B02"] == -1000


def test_grid_and_transform_are_the_tile_s(products: dict[tuple[str, str], Path]) -> None:
    grid = open_product(products["L2A", "05.09"]).grid("B8A")
    assert grid == Grid(20, 93, 126, 300_000.0, 6_200_040.0, "EPSG:32633")
    assert affine(grid).to_gdal() == (300_000.0, 20.0, 0.0, 6_200_040.0, 0.0, -20.0)


_OFFSET_5 = '<RADIO_ADD_OFFSET band_id="5">-1000</RADIO_ADD_OFFSET>'
_NOT_METADATA = {
    "an offset is missing": (_PRODUCT_XML, _OFFSET_5, "", "lacks B06"),
    "an offset is no number": (_PRODUCT_XML, _OFFSET_5, _OFFSET_5.replace("-1000", "minus"), "'minus' is no offset"),
    "an offset is for no band": (_PRODUCT_XML, 'band_id="5"', 'band_id="13"', "unknown band_id '13'"),
    "no quantification": (_PRODUCT_XML, "QUANTIFICATION_VALUE", "OTHER_VALUE", "no QUANTIFICATION_VALUE"),
    "quantification 0": (_PRODUCT_XML, ">10000<", ">0<", "QUANTIFICATION_VALUE = 0 is out of range"),
    "quantification in words": (_PRODUCT_XML, ">10000<", ">many<", "'many' is no number"),
    "no baseline": (_PRODUCT_XML, ">05.09<", "><", "no PROCESSING_BASELINE"),
    "level 1B": (_PRODUCT_XML, ">Level-1C<", ">Level-1B<", "Level-1B"),
    "no special value": (_PRODUCT_XML, ">SATURATED<", ">OTHER<", "no special value SATURATED"),
    "no images": (_PRODUCT_XML, "IMAGE_FILE", "PICTURE", "no image of any"),
    "cut off": (_PRODUCT_XML, "</Product_Info>", "", "cannot be parsed"),
    "a document type": (_PRODUCT_XML, "<n1:Level-1C_User", "<!DOCTYPE a><n1:Level-1C_User", "document type"),
    "an entity bomb": (
        _GRANULE_XML,
        "<n1:Level-1C_Tile",
        '<!DOCTYPE x [<!ENTITY a "b">]><n1:Level-1C_Tile',
        "entities",
    ),
    "a grid does not nest": (_GRANULE_XML, "<NROWS>93<", "<NROWS>94<", "20 m grid .* does not nest"),
    "a grid is shifted": (
        _GRANULE_XML,
        "<ULX>300000</ULX><ULY>6200040</ULY><XDIM>60<",
        "<ULX>300060</ULX><ULY>6200040</ULY><XDIM>60<",
        "60 m grid .* does not nest",
    ),
    "no grid": (_GRANULE_XML, '<Size resolution="20">', '<Size resolution="30">', "no geocoding at 20 m"),
    "no reference system": (_GRANULE_XML, "HORIZONTAL_CS_CODE", "CS", "no HORIZONTAL_CS_CODE"),
    "a strange reference system": (_GRANULE_XML, "EPSG:32633", "EPSG:4326", "no UTM zone"),
    "nodata is a measurement": (_PRODUCT_XML, "INDEX>0<", "INDEX>500<", "NODATA = 500 is a measurement"),
    "no tile": (_GRANULE_XML, "_T33UUB_N", "_N", "names no MGRS tile"),
}


@pytest.mark.parametrize("case", _NOT_METADATA)
def test_what_must_not_be_guessed_is_an_error_that_names_file_and_value(spoilt: Callable[..., Path], case: str) -> None:
    file, old, new, said = _NOT_METADATA[case]
    path = spoilt((file, old, new))
    with pytest.raises(MetadataError, match=said) as caught:
        open_product(path)
    assert Path(caught.value.where).name == file
    assert caught.value.cure


def test_absent_files_are_named(spoilt: Callable[..., Path], tmp_path: Path) -> None:
    path = spoilt()
    next(path.rglob(_GRANULE_XML)).unlink()
    with pytest.raises(MissingFileError, match=_GRANULE_XML):
        open_product(path)
    (path / _PRODUCT_XML).unlink()
    with pytest.raises(MissingFileError, match=_PRODUCT_XML):
        open_product(path)
    with pytest.raises(MissingFileError, match="nowhere"):
        open_product(tmp_path / "nowhere.SAFE")
