"""Products with one thing spoilt each: all are refused with their own error, or the spoilt pixels are marked.

A case is what is done to a good product and what is said of it. None may crash, hang or be believed. Masks and zips
have files of their own.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from spoiling import RASTER, Case, content, cut, dangling, edit, file_of, folder, raster, refused, zeros_from

from data_prep.synthetic import Scene, landscape, write_product
from hpc_sr.errors import (
    HpcSrError,
    MetadataError,
    MissingFileError,
    RasterError,
    RegistrationError,
    ShapeError,
    UnknownBandError,
    UnknownSatelliteError,
)
from hpc_sr.sentinel2.bands import BANDS
from hpc_sr.sentinel2.pairs import Pair
from hpc_sr.sentinel2.safe import open_product

Products = dict[tuple[str, str], Path]
Use = Callable[[Path], list[Pair]]

_BOMB = '<!DOCTYPE a [<!ENTITY b "{}">{}]><n1:Level'.format(
    "lol" * 100, "".join(f'<!ENTITY b{i} "{f"&b{i - 1 or str()};" * 100}">' for i in range(1, 9))
)
#: What may happen to either metadata file. The words that follow are those of the error.
_XML = {
    "missing": (Path.unlink, MissingFileError, "MTD_"),
    "a folder": (folder, MissingFileError, "MTD_"),
    "a dangling link": (dangling, MissingFileError, "MTD_"),
    "empty": (content(b""), MetadataError, "cannot be parsed"),
    "cut at a half": (cut(0.5), MetadataError, "cannot be parsed"),
    "cut at the end": (cut(0.999), MetadataError, "cannot be parsed"),
    "zeros at its end": (zeros_from(0.7), MetadataError, "cannot be parsed"),
    "only zeros": (zeros_from(0), MetadataError, "cannot be parsed"),
    "plain text": (content(b"404 not found"), MetadataError, "cannot be parsed"),
    "JSON": (content(b'{"error": "quota"}'), MetadataError, "cannot be parsed"),
    "an HTML page": (content(b"<html><body>Log in</body></html>"), MetadataError, "has no|announces no"),
    "of an unknown encoding": (
        content(b'<?xml version="1.0" encoding="x-none"?><a/>'),
        MetadataError,
        "cannot be parsed",
    ),
    "with a document type": (edit("<n1:Level", "<!DOCTYPE a><n1:Level"), MetadataError, "document type"),
    "with an outer entity": (
        edit("<n1:Level", '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><n1:Level'),
        MetadataError,
        "entities",
    ),
    "with an undeclared entity": (edit("</n1:General_Info>", "&b;</n1:General_Info>"), MetadataError, "parsed"),
    "with a billion laughs": (edit("<n1:Level", _BOMB), MetadataError, "entities"),
    "with a document type in UTF-16": (
        content('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'.encode("utf-16")),
        MetadataError,
        "document type|parsed",
    ),
    "of 50 000 nested elements": (
        content(b"<a>" * 50_000 + b"</a>" * 50_000),
        MetadataError,
        "has no|announces|parsed",
    ),
}
_OFFSET_5 = '<RADIO_ADD_OFFSET band_id="5">-1000</RADIO_ADD_OFFSET>'
_QUANTIFICATION = '<QUANTIFICATION_VALUE unit="none">10000<'
_IMAGES = r"(?s)<IMAGE_FILE>.*</IMAGE_FILE>"
_B02 = r"GRANULE/[^<]*_B02\b"


def _product_value(old: str, new: str, error: type[HpcSrError], said: str, **of: str) -> Case:
    return Case("MTD_MSI*.xml", edit(old, new), error, said, **of)


def _tile_value(old: str, new: str, said: str) -> Case:
    return Case("MTD_TL.xml", edit(old, new), MetadataError, said)


_QUANTIFIED = {
    f"quantification {value}": _product_value(
        _QUANTIFICATION, _QUANTIFICATION.replace("10000", value), MetadataError, "QUANTIFICATION_VALUE"
    )
    for value in ("", "many", "0", "-10000", "nan", "inf", "1e-3", "10 000", "1e20", "100", "40000")
}
_OFFSETS = {
    f"offset {value!r}": _product_value(_OFFSET_5, _OFFSET_5.replace("-1000", value), MetadataError, "RADIO_ADD_OFFSET")
    for value in ("", "minus", "nan", "-inf", "1e9", "-9000", "20000")
}
_OFFSET_LIST = r"(?s)<Radiometric_Offset_List>.*</Radiometric_Offset_List>"
_BOA_OFFSET_LIST = r"(?s)<BOA_ADD_OFFSET_VALUES_LIST>.*</BOA_ADD_OFFSET_VALUES_LIST>"
_VALUES = (
    _QUANTIFIED
    | _OFFSETS
    | {
        "no quantification": _product_value("QUANTIFICATION_VALUE", "OTHER", MetadataError, "no QUANTIFICATION_VALUE"),
        "no BOA quantification": _product_value(
            r"BOA_QUANTIFICATION_VALUE\b", "OTHER", MetadataError, "no BOA_QUANTIFICATION", level="L2A"
        ),
        "an offset of no band": _product_value(_OFFSET_5, _OFFSET_5.replace("5", "13"), MetadataError, "band_id '13'"),
        "an offset without band": _product_value(
            _OFFSET_5, _OFFSET_5.replace(' band_id="5"', ""), MetadataError, "band_id ''"
        ),
        "an offset missing": _product_value(_OFFSET_5, "", MetadataError, "lacks B06"),
        "a BOA offset missing": _product_value(
            '<BOA_ADD_OFFSET band_id="11">-1000</BOA_ADD_OFFSET>', "", MetadataError, "lacks B11", level="L2A"
        ),
        "no list of offsets": _product_value(_OFFSET_LIST, "", MetadataError, "L1C of baseline 05.09 has no RADIO_ADD"),
        "no list of BOA offsets": _product_value(
            _BOA_OFFSET_LIST, "", MetadataError, "L2A of baseline 05.09 has no BOA_ADD_OFFSET", level="L2A"
        ),
        "offsets of the other level": _product_value(
            r"RADIO_ADD_OFFSET\b", "BOA_ADD_OFFSET", MetadataError, "no RADIO_ADD_OFFSET, but BOA_ADD_OFFSET"
        ),
        "L1C's offsets in L2A": _product_value(
            r"BOA_ADD_OFFSET\b", "RADIO_ADD_OFFSET", MetadataError, "no BOA_ADD_OFFSET, but RADIO_ADD", level="L2A"
        ),
        "offsets of the other level before 04.00": _product_value(
            "</Product_Image_Characteristics>",
            '<BOA_ADD_OFFSET band_id="0">-1000</BOA_ADD_OFFSET></Product_Image_Characteristics>',
            MetadataError,
            "no RADIO_ADD_OFFSET, but BOA_ADD_OFFSET",
            baseline="02.08",
        ),
        "two offsets of a band": _product_value(
            _OFFSET_5, _OFFSET_5 + _OFFSET_5.replace("1000", "900"), MetadataError, "B06 is -1000 and -900"
        ),
        "two quantifications": _product_value(
            r"<QUANT", "<QUANTIFICATION_VALUE>1000</QUANTIFICATION_VALUE><QUANT", MetadataError, "is 1000 and 10000"
        ),
        "a baseline in words": _product_value(">05.09<", ">five<", MetadataError, "PROCESSING_BASELINE = 'five'"),
        "a baseline of one digit": _product_value(">05.09<", ">5.9<", MetadataError, "PROCESSING_BASELINE = '5.9'"),
        "two files of a band": _product_value(
            f"<IMAGE_FILE>(?={_B02})",
            "<IMAGE_FILE>GRANULE/L1C_T33UUB_A041000_20230615T101028/x_B02</IMAGE_FILE><IMAGE_FILE>",
            MetadataError,
            "two files",
        ),
        "a bare image of no granule": _product_value(
            r'granuleIdentifier="[^"]*"(.*\n)<IMAGE_FILE>GRANULE/[^<]*/',
            r'x="y"><IMAGE_FILE>',
            MetadataError,
            "granule without an id",
        ),
        "two values of nodata": _product_value(
            "<Special_Values>",
            "<Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT></Special_Values><Special_Values>",
            MetadataError,
            "two Special_Values of NODATA",
        ),
        "nodata of half a DN": _product_value("INDEX>0<", "INDEX>0.5<", MetadataError, "no whole number"),
        "saturation beyond all DN": _product_value("INDEX>65535<", "INDEX>1e20<", MetadataError, "SPECIAL_VALUE_INDEX"),
        "nodata is a measurement": _product_value("INDEX>0<", "INDEX>500<", MetadataError, "NODATA = 500"),
        "nodata in words": _product_value("INDEX>0<", "INDEX>none<", MetadataError, "SPECIAL_VALUE_INDEX"),
        "nodata below 0": _product_value("INDEX>0<", "INDEX>-1<", MetadataError, "SPECIAL_VALUE_INDEX"),
        "nodata unsaid": _product_value(">NODATA<", ">OTHER<", MetadataError, "no special value NODATA"),
        "saturated unsaid": _product_value(">SATURATED<", ">OTHER<", MetadataError, "no special value SATURATED"),
        "another satellite": _product_value("Sentinel-2B<", "Sentinel-2Z<", UnknownSatelliteError, "Sentinel-2Z"),
        "a Landsat": _product_value("Sentinel-2B<", "LANDSAT_8<", UnknownSatelliteError, "LANDSAT_8"),
        "no satellite": _product_value(">Sentinel-2B<", "><", MetadataError, "no SPACECRAFT_NAME"),
        "level 1B": _product_value(">Level-1C<", ">Level-1B<", MetadataError, "Level-1B"),
        "no level": _product_value(">Level-1C<", "><", MetadataError, "no PROCESSING_LEVEL"),
        "no baseline": _product_value(">05.09<", "><", MetadataError, "no PROCESSING_BASELINE"),
        "no granule": _product_value(_IMAGES, "", MetadataError, "announces no image"),
        "an image of another granule": _product_value(
            _B02, "GRANULE/L1C_T33UVB_A041000/IMG_DATA/T33UVB_B02", MissingFileError, "L1C_T33UVB_A041000"
        ),
        "an image up and away": _product_value(_B02, "GRANULE/../../../../../etc/x_B02", MissingFileError, r"\.\."),
        "an absolute image": _product_value(_B02, "/etc/x_B02", UnknownBandError, "B02"),
        "a band not announced": _product_value(f"<IMAGE_FILE>{_B02}</IMAGE_FILE>", "", UnknownBandError, "B02"),
        "no reference system": _tile_value(r"HORIZONTAL_CS_CODE", "OTHER", "no HORIZONTAL_CS_CODE"),
        "a reference system in words": _tile_value(">EPSG:32633<", ">WGS 84 / UTM<", "UTM"),
        "a reference system of no one": _tile_value(">EPSG:32633<", ">EPSG:99999999<", "99999999"),
        "no tile": _tile_value(r"_T33UUB_N", "_N", "names no MGRS tile"),
        "sensed never": _tile_value(r"<SENSING_TIME.*?>[^<]*", "<SENSING_TIME>nan", "SENSING_TIME = 'nan'"),
        "sensed on no day": _tile_value("2023-06-15T", "2023-06-31T", "SENSING_TIME = '2023-06-31T"),
        "sensed without dashes": _tile_value("2023-06-15T", "20230615T", "SENSING_TIME = '20230615T"),
        "sensed before the launch": _tile_value("2023-06-15T", "1970-01-01T", "SENSING_TIME = '1970"),
        "a corner off the earth": _tile_value(r"<ULX>300000<", "<ULX>3e9<", "ULX"),
        "zone 0": _tile_value(">EPSG:32633<", ">EPSG:32600<", "no UTM zone"),
        "zone 61": _tile_value(">EPSG:32633<", ">EPSG:32661<", "no UTM zone"),
        "two grids of 20 m": _tile_value(
            '<Size resolution="10">', '<Size resolution="20"/><Size resolution="10">', "two Size of 20"
        ),
        "no sensing time": _tile_value("SENSING_TIME", "OTHER", "no SENSING_TIME"),
        "no size at 20 m": _tile_value('<Size resolution="20">', '<Size resolution="30">', "no geocoding at 20 m"),
        "no position at 60 m": _tile_value('<Geoposition resolution="60">', "<Geoposition>", "no geocoding at 60 m"),
        "rows of no whole pixels": _tile_value("<NROWS>93<", "<NROWS>93.5<", "NROWS"),
        "rows below 0": _tile_value("<NROWS>93<", "<NROWS>-93<", "NROWS"),
        "rows nan": _tile_value("<NROWS>186<", "<NROWS>nan<", "NROWS"),
        "columns inf": _tile_value("<NCOLS>42<", "<NCOLS>inf<", "NCOLS"),
        "columns in words": _tile_value("<NCOLS>42<", "<NCOLS>some<", "NCOLS"),
        "a corner nan": _tile_value(r"<ULX>300000<", "<ULX>nan<", "ULX"),
        "a grid that does not nest": _tile_value("<NROWS>93<", "<NROWS>94<", "20 m grid .* does not nest"),
        "grids of 439, 219 and 73": _tile_value(
            r"(?s)<Size.*</Size>",
            "".join(
                f'<Size resolution="{gsd}"><NROWS>{n}</NROWS><NCOLS>{n}</NCOLS></Size>'
                for gsd, n in ((10, 439), (20, 219), (60, 73))
            ),
            "20 m grid .* does not nest",
        ),
        "a grid shifted by its corner": _tile_value(
            "<ULX>300000</ULX><ULY>6200040</ULY><XDIM>60<", "<ULX>300060</ULX><ULY>6200040</ULY><XDIM>60<", "60 m grid"
        ),
        "pixels of another size": _tile_value("<XDIM>20<", "<XDIM>25<", "XDIM"),
        "pixels upside down": _tile_value("<YDIM>-20<", "<YDIM>20<", "YDIM"),
    }
)

#: What happens to files of every grid; the rest is of files, and one tells it.
_OF_GRIDS = ("missing", "cut at a half", "of another size", "one pixel off", "of larger pixels")
CASES = (
    {f"product metadata {what}": Case("MTD_MSIL1C.xml", *how) for what, how in _XML.items()}
    | {f"granule metadata {what}": Case("MTD_TL.xml", *how) for what, how in _XML.items()}
    | _VALUES
    | {f"B05 {what}": Case("*_B05.jp2", *how) for what, how in RASTER.items()}
    | {f"{band} {what}": Case(f"*_{band}.jp2", *RASTER[what]) for band in ("B02", "B01") for what in _OF_GRIDS}
)


@pytest.mark.parametrize("name", CASES)
def test_what_is_broken_is_refused_with_its_own_error(products: Products, tmp_path: Path, use: Use, name: str) -> None:
    refused(CASES[name], products, tmp_path, use)


@pytest.mark.parametrize("level", ["L1C", "L2A"])
@pytest.mark.parametrize("baseline", ["02.08", "05.09"])
def test_the_good_product_is_used(products: Products, use: Use, level: str, baseline: str) -> None:
    for pair in use(products[level, baseline]):
        assert not pair.unmeasured.any()


@pytest.mark.parametrize("name", ["B02", "B05", "B01"])
@pytest.mark.parametrize(("value", "reason"), [(0, "nodata"), (32767, "saturated"), (65535, "saturated")])
def test_a_band_of_nothing_but_special_values_is_marked(
    products: Products, tmp_path: Path, use: Use, name: str, value: int, reason: str
) -> None:
    product = Path(shutil.copytree(products["L1C", "05.09"], tmp_path / "p.SAFE"))
    raster(lambda p, k: (np.full_like(p, value), k))(file_of(product, f"*_{name}.jp2"))
    at_20m, at_60m = use(product)
    assert at_60m.marks[reason].all() and at_60m.unmeasured.all()
    if name != "B01":
        assert at_20m.marks[reason].all()


@pytest.mark.parametrize(("origin", "offset"), [("N02.06", 0.0), ("N05.09", None), ("", None)])
@pytest.mark.parametrize("level", ["L2A", "L1C"])
def test_what_was_processed_at_home_has_the_offsets_of_what_it_was_made_of(
    spoilt: Callable[..., Path], level: str, origin: str, offset: float | None
) -> None:
    """Baseline 99.99 says nothing of offsets; the Level-1C that a granule names does."""
    product = spoilt(level=level, baseline="02.08")
    edit("02.08</PROC", "99.99</PROC")(file_of(product, f"MTD_MSI{level}.xml"))
    if origin:
        named = f"<L1C_TILE_ID>S2B_OPER_MSI_L1C_TL_A_T33UUB_{origin}</L1C_TILE_ID><TILE_ID "
        edit("<TILE_ID ", named)(file_of(product, "MTD_TL.xml"))
    if offset is None:
        with pytest.raises(MetadataError, match=f"{level} of baseline .* has no"):
            open_product(product)
    else:
        assert set(open_product(product).radiometric_offset.values()) == {offset}


def test_a_granule_that_is_announced_twice_is_one(products: Products, tmp_path: Path, use: Use) -> None:
    product = Path(shutil.copytree(products["L1C", "05.09"], tmp_path / "p.SAFE"))
    metadata = product / "MTD_MSIL1C.xml"
    text = metadata.read_text("utf-8")
    (granules,) = re.findall(r"(?s)<Granule_List>.*</Granule_List>", text)
    metadata.write_text(text.replace(granules, 2 * granules), "utf-8")
    once, twice = use(products["L1C", "05.09"]), use(product)
    assert len(twice) == len(once) == 2
    np.testing.assert_array_equal(twice[0].layers["x20"], once[0].layers["x20"])


def test_sizes_beyond_memory_are_refused_by_the_files(products: Products, tmp_path: Path, use: Use) -> None:
    product = Path(shutil.copytree(products["L1C", "05.09"], tmp_path / "p.SAFE"))
    sizes = "".join(
        f'<Size resolution="{gsd}"><NROWS>{n}</NROWS><NCOLS>{n}</NCOLS></Size>'
        for gsd, n in ((10, 6_000_000_000), (20, 3_000_000_000), (60, 1_000_000_000))
    )
    edit(r"(?s)<Size.*</Size>", sizes)(file_of(product, "MTD_TL.xml"))
    with pytest.raises((RasterError, MetadataError), match="the metadata say|NROWS"):
        use(product)


def test_a_product_below_one_pixel_is_refused(tmp_path: Path, use: Use) -> None:
    with pytest.raises(ShapeError, match="less than one"):
        use(write_product(tmp_path, landscape(12, seed=3)))


@pytest.fixture(scope="module")
def ground() -> Scene:
    return landscape(600, seed=4)


@pytest.mark.parametrize("gsd_m", [20, 60])
@pytest.mark.parametrize("axis", [0, 1])
def test_grids_that_are_shifted_by_one_pixel_are_refused(
    ground: Scene, tmp_path: Path, use: Use, gsd_m: int, axis: int
) -> None:
    """The content moves, the georeference does not: only the pixels tell."""
    shifted = {name: np.roll(dn, 1, axis) if BANDS[name].gsd_m == gsd_m else dn for name, dn in ground.dn.items()}
    off = r"\+(0\.[7-9]\d|1\.[0-3]\d) rows" if axis == 0 else r"\+(0\.[7-9]\d|1\.[0-3]\d) columns"
    with pytest.raises(RegistrationError, match=f"at {gsd_m} m lies .*{off}"):
        use(write_product(tmp_path, Scene(shifted)))


def test_grids_that_lie_together_are_used(ground: Scene, tmp_path: Path, use: Use) -> None:
    assert len(use(write_product(tmp_path, ground))) == 2
