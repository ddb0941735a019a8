"""The metadata of a product, read strictly: what must not be guessed and is not there is an error."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from hpc_sr.errors import MetadataError, UnknownSatelliteError
from hpc_sr.sentinel2.archive import ProductFiles
from hpc_sr.sentinel2.bands import BAND_BY_ID, BANDS, SATELLITES
from hpc_sr.sentinel2.layout import bucket_tile, granules, mask_files
from hpc_sr.sentinel2.locating import is_bucket
from hpc_sr.sentinel2.masks import FULL_SCALE_DN
from hpc_sr.sentinel2.xml_values import in_one_dialect, number, one, optional, parse_xml, text_of, whole

_LEVELS = {"Level-1C": "L1C", "Level-2A": "L2A", "Level-2Ap": "L2A"}
#: The largest metadata of real products have 0.6 MB.
_LARGEST_XML_BYTES = 16 << 20
#: A tile has 10980 px; more than twice that is no tile, and would ask for memory that nobody has.
_LARGEST_SIDE_PX = 24_000
#: Corners of tiles in metres of their zone, with room: eastings below 1,000 km, northings below 10,000 km.
_EASTING_M, _NORTHING_M = (-1e6, 2e6), (-1e6, 11e6)
_OFFSET_TAG = {"L1C": "RADIO_ADD_OFFSET", "L2A": "BOA_ADD_OFFSET"}
_QUANTIFICATION_TAG = {"L1C": "QUANTIFICATION_VALUE", "L2A": "BOA_QUANTIFICATION_VALUE"}
#: DN of reflectance 1: 1000 in the oldest products, 10 000 since; beyond the largest DN no reflectance 1 is measured.
_QUANTIFICATION = (1000, FULL_SCALE_DN)
#: From here on products carry a radiometric offset, and say which.
_BASELINE_WITH_OFFSETS = "04.00"
#: What is processed at home (Sen2Cor) has this baseline, whatever it was made of.
_BASELINE_AT_HOME = "99.99"
#: The largest offset, as reflectance: 0.1 is real, and beyond this darkness would lie among bright measurements.
_LARGEST_OFFSET = 0.5
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
_FIRST_YEAR = 2015


@dataclass(frozen=True)
class Grid:
    """A north-up pixel grid: size in pixels, GSD and upper-left corner in metres, reference system ("EPSG:32633")."""

    gsd_m: int
    height: int
    width: int
    ulx_m: float
    uly_m: float
    crs: str


def read_metadata(files: ProductFiles) -> list[dict[str, Any]]:
    """Return the fields of a Product for each granule. Raises MetadataError and its kin, naming file and value."""
    where = files.where(files.xml)
    tree = _read(files, files.xml)
    level = _level(tree, where)
    baseline = _baseline(tree, where)
    announced = granules(tree, where)
    special = _by_key(((one(e, "SPECIAL_VALUE_TEXT", where), e) for e in tree.iter("Special_Values")), where)
    quantification = number(tree, _QUANTIFICATION_TAG[level], where, *_QUANTIFICATION)
    shared = {
        "source": files,
        "level": level,
        "processing_baseline": baseline,
        "satellite": _satellite(tree, where),
        "quantification_value": quantification,
        "nodata_dn": _nodata(special, where),
        "saturated_dn": _special_value(special, "SATURATED", where),
    }
    if is_bucket(files.xml):
        tile_id = one(_read(files, "metadata.xml"), "TILE_ID", files.where("metadata.xml"))
        announced, several = [bucket_tile(announced, tile_id, where)], len(announced) > 1
    else:
        several = len(announced) > 1
    products = []
    for granule in announced:
        bands = granule.bands(level, where)
        inside = files.where(granule.metadata(files))
        tile_tree = _read(files, granule.metadata(files))
        tile = _tile(tile_tree, inside)
        written = _baseline_of_offsets(baseline, tile_tree)
        offsets = _offsets(tree, level, written, bands, _LARGEST_OFFSET * quantification, where)
        products.append(
            shared
            | {
                "name": _name(tree, tile_tree, f"_T{tile}" if several else "", inside),
                "tile": tile,
                "sensing_time": _sensing_time(tile_tree, inside),
                "radiometric_offset": offsets,
                "grids": _grids(tile_tree, inside),
                "files": bands,
                "masks": mask_files(tile_tree, granule, files, inside),
                "scene_class": granule.scene_class(files),
            }
        )
    return products


def _read(files: ProductFiles, name: str) -> ET.Element:
    return in_one_dialect(parse_xml(files.read(name, _LARGEST_XML_BYTES), files.where(name)))


def _by_key(pairs: Iterable[tuple[str, ET.Element]], path: Path) -> dict[str, ET.Element]:
    """Return elements by what they are for; two for one thing would leave it to chance which is meant."""
    found: dict[str, ET.Element] = {}
    for key, element in pairs:
        if key in found:
            raise MetadataError(f"has two {element.tag} of {key}", where=path, cure="fetch the product again")
        found[key] = element
    return found


def _name(tree: ET.Element, tile_tree: ET.Element, ending: str, where: Path) -> str:
    """Return what the product calls itself, or without that its granule: never what somebody called its folder."""
    name = re.sub(r"\.safe$", "", PurePosixPath(optional(tree, "PRODUCT_URI")).name, flags=re.IGNORECASE)
    if name:
        name += ending
    else:
        name = one(tile_tree, "TILE_ID", where)
    if not _PLAIN_NAME.fullmatch(name):
        raise MetadataError(f"is called {name!r}, no file name", where=where, cure="fetch the product again")
    return name


def _level(tree: ET.Element, path: Path) -> str:
    text = one(tree, "PROCESSING_LEVEL", path)
    if text not in _LEVELS:
        raise MetadataError(f"PROCESSING_LEVEL = {text!r}", where=path, cure="only Level-1C and Level-2A are read")
    return _LEVELS[text]


def _baseline(tree: ET.Element, path: Path) -> str:
    text = one(tree, "PROCESSING_BASELINE", path)
    if not re.fullmatch(r"\d\d\.\d\d", text):
        raise MetadataError(
            f"PROCESSING_BASELINE = {text!r}, not NN.NN", where=path, cure="whether there are offsets hangs on it"
        )
    return text


def _baseline_of_offsets(baseline: str, tile_tree: ET.Element) -> str:
    """Return the baseline that tells whether there must be offsets: of the Level-1C that it was made of at home."""
    if baseline != _BASELINE_AT_HOME:
        return baseline
    origin = re.search(r"_N(\d\d\.\d\d)$", optional(tile_tree, "L1C_TILE_ID"))
    return origin.group(1) if origin else baseline


def _satellite(tree: ET.Element, path: Path) -> str:
    text = one(tree, "SPACECRAFT_NAME", path)
    satellite = text.replace("Sentinel-2", "S2")
    if satellite not in SATELLITES:
        raise UnknownSatelliteError(
            f"SPACECRAFT_NAME = {text!r}", where=path, cure=f"known: {', '.join(SATELLITES)}; add its MTF to bands.py"
        )
    return satellite


def _tile(granule: ET.Element, path: Path) -> str:
    text = one(granule, "TILE_ID", path)
    found = re.search(r"_T(\d{2}[A-Z]{3})(_|$)", text)
    if not found:
        raise MetadataError(f"TILE_ID = {text!r} names no MGRS tile", where=path, cure="fetch the product again")
    return found.group(1)


def _sensing_time(granule: ET.Element, path: Path) -> str:
    text = one(granule, "SENSING_TIME", path)
    try:
        if datetime.fromisoformat(text).year < _FIRST_YEAR or not re.match(r"\d{4}-\d\d-\d\dT", text):
            raise ValueError
    except ValueError:
        cure = f"it is a time since {_FIRST_YEAR}, as 2023-08-23T10:05:35.271Z: fetch the product again"
        raise MetadataError(f"SENSING_TIME = {text!r} is no time of sensing", where=path, cure=cure) from None
    return text


def _special_value(special: dict[str, ET.Element], which: str, path: Path) -> int:
    if which not in special:
        raise MetadataError(f"has no special value {which}", where=path, cure="fetch the product again")
    return whole(special[which], "SPECIAL_VALUE_INDEX", path, 0, 65535)


def _nodata(special: dict[str, ET.Element], path: Path) -> int:
    """Return the DN of nodata: 0, 1 in the oldest products, or one that no measurement has."""
    value = _special_value(special, "NODATA", path)
    if 1 < value < FULL_SCALE_DN:
        raise MetadataError(
            f"NODATA = {value} is a measurement", where=path, cure="the metadata contradict themselves: fetch again"
        )
    return value


def _offsets(
    tree: ET.Element, level: str, baseline: str, bands: Iterable[str], largest: float, path: Path
) -> dict[str, float]:
    """Return the offset in DN of every band: 0 where the product, older than baseline 04.00, has no list."""
    tag, other = _OFFSET_TAG[level], next(tag for key, tag in _OFFSET_TAG.items() if key != level)
    elements, strangers = list(tree.iter(tag)), list(tree.iter(other))
    if not elements and not strangers and baseline < _BASELINE_WITH_OFFSETS:
        return dict.fromkeys(BANDS, 0.0)
    problem = ""
    offsets: dict[str, float] = {}
    for element in elements:
        name, value = _offset(element, tag, largest, path)
        if offsets.setdefault(name, value) != value:
            problem = f"{tag} of {name} is {offsets[name]:g} and {value:g}"
    missing = [name for name in bands if name not in offsets]
    if not elements:
        problem = f"{level} of baseline {baseline} has no {tag}{f', but {other}' if strangers else ''}"
    elif missing:
        problem = f"{tag} lacks {', '.join(missing)}"
    if problem:
        raise MetadataError(problem, where=path, cure="an offset is never guessed: fetch the product again")
    return offsets


def _offset(element: ET.Element, tag: str, largest: float, path: Path) -> tuple[str, float]:
    """Return the band that an offset is for, and the offset in DN."""
    band_id, text = element.get("band_id", ""), text_of(element)  # "" is no band either
    if band_id not in BAND_BY_ID:
        raise MetadataError(f"{tag} is for unknown band_id {band_id!r}", where=path, cure="fetch the product again")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= largest:
        raise MetadataError(
            f"{tag} {band_id} = {text!r} is no offset in DN",
            where=path,
            cure=f"it is within {largest:g} DN: fetch the product again",
        )
    return BAND_BY_ID[band_id], value


def _grids(granule: ET.Element, path: Path) -> dict[int, Grid]:
    crs = one(granule, "HORIZONTAL_CS_CODE", path).upper()
    if not re.fullmatch(r"EPSG:32[67](0[1-9]|[1-5]\d|60)", crs):
        raise MetadataError(f"HORIZONTAL_CS_CODE = {crs!r} is no UTM zone", where=path, cure="fetch the product again")
    sizes = _by_key(((e.get("resolution", ""), e) for e in granule.iter("Size")), path)
    positions = _by_key(((e.get("resolution", ""), e) for e in granule.iter("Geoposition")), path)
    grids = {}
    for gsd_m in (10, 20, 60):
        size, position = sizes.get(str(gsd_m)), positions.get(str(gsd_m))
        if size is None or position is None:
            raise MetadataError(f"has no geocoding at {gsd_m} m", where=path, cure="fetch the product again")
        height, width = (whole(size, tag, path, 1, _LARGEST_SIDE_PX) for tag in ("NROWS", "NCOLS"))
        steps = [number(position, tag, path, -1e3, 1e3) for tag in ("XDIM", "YDIM")]
        if steps != [gsd_m, -gsd_m]:
            raise MetadataError(
                f"XDIM, YDIM = {steps} at {gsd_m} m", where=path, cure="pixels are square and north up: fetch again"
            )
        corner = (number(position, "ULX", path, *_EASTING_M), number(position, "ULY", path, *_NORTHING_M))
        grids[gsd_m] = Grid(gsd_m, height, width, *corner, crs)
    fine = grids[10]
    for grid in (grids[20], grids[60]):
        ratio = grid.gsd_m // 10
        nested = (grid.height * ratio, grid.width * ratio) == (fine.height, fine.width)
        if not nested or (grid.ulx_m, grid.uly_m) != (fine.ulx_m, fine.uly_m):
            raise MetadataError(
                f"the {grid.gsd_m} m grid ({grid.height} x {grid.width} px) does not nest in the 10 m grid "
                f"({fine.height} x {fine.width} px)",
                where=path,
                cure="the three grids must cover the same ground",
            )
    return grids
