"""The XML of a product, read strictly: a value that must not be guessed and is not there is an error."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from xml.parsers import expat

from hpc_sr.errors import MetadataError, UnknownSatelliteError
from hpc_sr.sentinel2.archive import ProductFiles
from hpc_sr.sentinel2.bands import BANDS, SATELLITES
from hpc_sr.sentinel2.masks import FULL_SCALE_DN

_LEVELS = {"Level-1C": "L1C", "Level-2A": "L2A", "Level-2Ap": "L2A"}
_BAND_BY_ID = {str(band.band_id): name for name, band in BANDS.items()}
#: Where a product announces its images; the second of each pair is early Sen2Cor's.
_IMAGE_TAGS = ("IMAGE_FILE", "IMAGE_FILE_2A", "IMAGE_ID", "IMAGE_ID_2A")
#: A tile has 10980 px; more than twice that is no tile, and would ask for memory that nobody has.
_LARGEST_SIDE_PX = 24_000
_OFFSET_TAG = {"L1C": "RADIO_ADD_OFFSET", "L2A": "BOA_ADD_OFFSET"}
_QUANTIFICATION_TAG = {"L1C": "QUANTIFICATION_VALUE", "L2A": "BOA_QUANTIFICATION_VALUE"}


@dataclass(frozen=True)
class Grid:
    """A north-up pixel grid: size in pixels, GSD and upper-left corner in metres, reference system ("EPSG:32633")."""

    gsd_m: int
    height: int
    width: int
    ulx_m: float
    uly_m: float
    crs: str


@dataclass(frozen=True)
class Granule:
    """What the product's metadata announce of one tile: its folder and its images, without their ending."""

    folder: str
    images: tuple[str, ...]


def read_metadata(files: ProductFiles) -> list[dict[str, Any]]:
    """Return the fields of a Product for each granule. Raises MetadataError and its kin, naming file and value."""
    xml = files.product_xml()
    where = files.where(xml)
    tree = parse_xml(files.read(xml), where)
    level = _level(tree, where)
    granules = _granules(tree, where)
    special = {_one(e, "SPECIAL_VALUE_TEXT", where): e for e in tree.iter("Special_Values")}
    shared = {
        "source": files,
        "level": level,
        "processing_baseline": _one(tree, "PROCESSING_BASELINE", where),
        "satellite": _satellite(tree, where),
        "quantification_value": _number(tree, _QUANTIFICATION_TAG[level], where),
        "nodata_dn": _nodata(special, where),
        "saturated_dn": _special_value(special, "SATURATED", where),
    }
    products = []
    for granule in granules:
        bands = _band_files(granule.images, level)
        granule_xml = _granule_xml(files, granule)
        inside = files.where(granule_xml)
        tile_tree = parse_xml(files.read(granule_xml), inside)
        tile = _tile(tile_tree, inside)
        products.append(
            shared
            | {
                "name": files.product_name if len(granules) == 1 else f"{files.product_name}_T{tile}",
                "tile": tile,
                "sensing_time": _one(tile_tree, "SENSING_TIME", inside),
                "radiometric_offset": _offsets(tree, _OFFSET_TAG[level], bands, where),
                "grids": _grids(tile_tree, inside),
                "files": bands,
                "masks": _masks(tile_tree, granule),
                "scene_class": next((f"{image}.jp2" for image in granule.images if image.endswith("_SCL_20m")), None),
            }
        )
    return products


def parse_xml(content: bytes, where: Path) -> ET.Element:
    """Return the root of an XML document. Raises MetadataError if it is none, or declares a document type."""

    def refuse(*_: object) -> None:
        raise MetadataError(
            "declares a document type or entities", where=where, cure="no Sentinel-2 product does: discard"
        )

    guard = expat.ParserCreate()
    guard.StartDoctypeDeclHandler = refuse
    try:
        guard.Parse(content, True)
        return ET.fromstring(content)
    except (expat.ExpatError, ET.ParseError, ValueError, LookupError) as error:
        raise MetadataError(f"cannot be parsed ({error})", where=where, cure="fetch the product again") from error


def _granules(tree: ET.Element, where: Path) -> list[Granule]:
    """Return the granules in the order of their names; compact products have one, older ones one a tile."""
    images: dict[str, list[str]] = {}
    for element in (e for e in tree.iter() if e.tag in ("Granule", "Granules")):
        for image in (_text(e) for e in element.iter() if e.tag in _IMAGE_TAGS):
            parts = PurePosixPath(image).parts
            if len(parts) == 1:
                identifier = element.get("granuleIdentifier", "")
                folder = re.search(r"_(R[126]0m|[126]0m)$", image)
                below = f"R{folder.group(1).removeprefix('R')}/" if folder else ""
                image, parts = f"GRANULE/{identifier}/IMG_DATA/{below}{image}", ("GRANULE", identifier)
            if len(parts) > 1 and parts[0] == "GRANULE":
                images.setdefault(parts[1], []).append(image)
    if not images:
        raise MetadataError("announces no image of any granule", where=where, cure="fetch the product again")
    return [Granule(f"GRANULE/{name}", tuple(images[name])) for name in sorted(images)]


def _granule_xml(files: ProductFiles, granule: Granule) -> str:
    """Return the name of the granule's metadata: MTD_TL.xml, or the older one after the granule's name."""
    compact = f"{granule.folder}/MTD_TL.xml"
    name = PurePosixPath(granule.folder).name
    older = f"{granule.folder}/{re.sub(r'_N[0-9.]+$', '', name).replace('_MSI_', '_MTD_')}.xml"
    return older if files.has(older) and not files.has(compact) else compact


def _text(element: ET.Element) -> str:
    return (element.text or "").strip()


def _one(tree: ET.Element, tag: str, path: Path) -> str:
    element = next(tree.iter(tag), None)
    if element is None or not _text(element):
        raise MetadataError(f"has no {tag}", where=path, cure="the product cannot be read without it: fetch it again")
    return _text(element)


def _number(tree: ET.Element, tag: str, path: Path, at_least: float = 1.0) -> float:
    text = _one(tree, tag, path)
    try:
        value = float(text)
    except ValueError:
        raise MetadataError(f"{tag} = {text!r} is no number", where=path, cure="fetch the product again") from None
    if not at_least <= value < float("inf"):
        raise MetadataError(f"{tag} = {text} is out of range", where=path, cure="fetch the product again")
    return value


def _level(tree: ET.Element, path: Path) -> str:
    text = _one(tree, "PROCESSING_LEVEL", path)
    if text not in _LEVELS:
        raise MetadataError(f"PROCESSING_LEVEL = {text!r}", where=path, cure="only Level-1C and Level-2A are read")
    return _LEVELS[text]


def _satellite(tree: ET.Element, path: Path) -> str:
    text = _one(tree, "SPACECRAFT_NAME", path)
    satellite = text.replace("Sentinel-2", "S2")
    if satellite not in SATELLITES:
        raise UnknownSatelliteError(
            f"SPACECRAFT_NAME = {text!r}", where=path, cure=f"known: {', '.join(SATELLITES)}; add its MTF to bands.py"
        )
    return satellite


def _tile(granule: ET.Element, path: Path) -> str:
    text = _one(granule, "TILE_ID", path)
    found = re.search(r"_T(\d{2}[A-Z]{3})(_|$)", text)
    if not found:
        raise MetadataError(f"TILE_ID = {text!r} names no MGRS tile", where=path, cure="fetch the product again")
    return found.group(1)


def _special_value(special: dict[str, ET.Element], which: str, path: Path) -> int:
    if which not in special:
        raise MetadataError(f"has no special value {which}", where=path, cure="fetch the product again")
    return int(_number(special[which], "SPECIAL_VALUE_INDEX", path, at_least=0.0))


def _nodata(special: dict[str, ET.Element], path: Path) -> int:
    """Return the DN of nodata: 0, 1 in the oldest products, or one that no measurement has."""
    value = _special_value(special, "NODATA", path)
    if 1 < value < FULL_SCALE_DN:
        raise MetadataError(
            f"NODATA = {value} is a measurement", where=path, cure="the metadata contradict themselves: fetch again"
        )
    return value


def _offsets(tree: ET.Element, tag: str, bands: Iterable[str], path: Path) -> dict[str, float]:
    """Return the offset in DN of every band: 0 where the product, older than baseline 04.00, has no list."""
    elements = list(tree.iter(tag))
    if not elements:
        return dict.fromkeys(BANDS, 0.0)
    offsets: dict[str, float] = {}
    for element in elements:
        band_id = element.get("band_id", "")
        if band_id not in _BAND_BY_ID:
            raise MetadataError(f"{tag} is for unknown band_id {band_id!r}", where=path, cure="fetch the product again")
        try:
            value = float(_text(element))
            if not abs(value) < FULL_SCALE_DN:
                raise ValueError
            offsets[_BAND_BY_ID[band_id]] = value
        except ValueError:
            raise MetadataError(
                f"{tag} {band_id} = {_text(element)!r} is no offset in DN", where=path, cure="fetch the product again"
            ) from None
    missing = [name for name in bands if name not in offsets]
    if missing:
        raise MetadataError(
            f"{tag} lacks {', '.join(missing)}", where=path, cure="an offset is never guessed: fetch again"
        )
    return offsets


def _grids(granule: ET.Element, path: Path) -> dict[int, Grid]:
    crs = _one(granule, "HORIZONTAL_CS_CODE", path).upper()
    if not re.fullmatch(r"EPSG:32[67]\d\d", crs):
        raise MetadataError(f"HORIZONTAL_CS_CODE = {crs!r} is no UTM zone", where=path, cure="fetch the product again")
    sizes = {e.get("resolution"): e for e in granule.iter("Size")}
    positions = {e.get("resolution"): e for e in granule.iter("Geoposition")}
    grids = {}
    for gsd_m in (10, 20, 60):
        size, position = sizes.get(str(gsd_m)), positions.get(str(gsd_m))
        if size is None or position is None:
            raise MetadataError(f"has no geocoding at {gsd_m} m", where=path, cure="fetch the product again")
        height, width = (_side_px(size, tag, path) for tag in ("NROWS", "NCOLS"))
        steps = [_number(position, tag, path, at_least=-1e8) for tag in ("XDIM", "YDIM")]
        if steps != [gsd_m, -gsd_m]:
            raise MetadataError(
                f"XDIM, YDIM = {steps} at {gsd_m} m", where=path, cure="pixels are square and north up: fetch again"
            )
        corner = (_number(position, "ULX", path, at_least=-1e8), _number(position, "ULY", path, at_least=-1e8))
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


def _side_px(size: ET.Element, tag: str, path: Path) -> int:
    value = _number(size, tag, path)
    if value != int(value) or value > _LARGEST_SIDE_PX:
        raise MetadataError(f"{tag} = {value:g} is no side of a tile", where=path, cure="fetch the product again")
    return int(value)


def _band_files(images: Iterable[str], level: str) -> dict[str, str]:
    """Return each band's file at its native GSD. L2A's resampled copies at coarser GSDs are left alone."""
    files = {}
    for image in images:
        for name, band in BANDS.items():
            suffix = f"_{name}" if level == "L1C" else f"_{name}_{band.gsd_m}m"
            if image.endswith(suffix):
                files[name] = f"{image}.jp2"
    return files


def _masks(granule_tree: ET.Element, granule: Granule) -> dict[str, dict[str, str]]:
    """Return the mask files by kind ("QUALIT", "CLOUDS") and band; "" where one mask serves all bands."""
    masks: dict[str, dict[str, str]] = {}
    for element in granule_tree.iter("MASK_FILENAME"):
        name, kind = _text(element), element.get("type", "").removeprefix("MSK_")
        if name:
            band = _BAND_BY_ID.get(element.get("bandId", ""), "")
            masks.setdefault(kind, {})[band] = name if "/" in name else f"{granule.folder}/QI_DATA/{name}"
    return masks
