"""The XML of a product, read strictly: a value that must not be guessed and is not there is an error."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpc_sr.errors import MetadataError, MissingFileError, UnknownSatelliteError
from hpc_sr.sentinel2.bands import BANDS, SATELLITES

_LEVELS = {"Level-1C": "L1C", "Level-2A": "L2A", "Level-2Ap": "L2A"}
_BAND_BY_ID = {str(band.band_id): name for name, band in BANDS.items()}
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


def read_metadata(root: Path) -> dict[str, Any]:
    """Return the fields of a Product from the XML below `root`, a .SAFE directory."""
    product_xml = _product_xml(root)
    tree = _parse(product_xml)
    level = _level(tree, product_xml)
    images = [_text(element) for element in tree.iter("IMAGE_FILE")]
    if not images:
        raise MetadataError(
            "announces no IMAGE_FILE", where=product_xml, cure="only compact-format products (since 2016-12) are read"
        )
    granules = sorted({str(Path(image).parts[1]) for image in images if len(Path(image).parts) > 2})
    if len(granules) != 1:
        raise MetadataError(
            f"announces {len(granules)} granules", where=product_xml, cure="give a product of one tile"
        )
    granule_xml = root / "GRANULE" / granules[0] / "MTD_TL.xml"
    granule = _parse(granule_xml)
    special = {_one(e, "SPECIAL_VALUE_TEXT", product_xml): e for e in tree.iter("Special_Values")}
    return {
        "path": root,
        "name": root.name.removesuffix(".SAFE"),
        "level": level,
        "processing_baseline": _one(tree, "PROCESSING_BASELINE", product_xml),
        "satellite": _satellite(tree, product_xml),
        "tile": _tile(granule, granule_xml),
        "sensing_time": _one(granule, "SENSING_TIME", granule_xml),
        "quantification_value": _number(tree, _QUANTIFICATION_TAG[level], product_xml),
        "radiometric_offset": _offsets(tree, _OFFSET_TAG[level], product_xml),
        "nodata_dn": _special_value(special, "NODATA", product_xml),
        "saturated_dn": _special_value(special, "SATURATED", product_xml),
        "grids": _grids(granule, granule_xml),
        "files": _band_files(root, images, level),
        "quality_files": _quality_files(root, granule),
        "scene_class_file": _scene_class(root, images),
    }


def _product_xml(root: Path) -> Path:
    found = sorted(p for p in root.iterdir() if re.fullmatch(r"mtd_msil(1c|2a)\.xml", p.name.lower()))
    if not found:
        raise MissingFileError(
            "holds no MTD_MSIL1C.xml or MTD_MSIL2A.xml", where=root, cure="fetch the product again"
        )
    return found[0]


def _parse(path: Path) -> ET.Element:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MissingFileError(f"cannot be read ({error})", where=path, cure="fetch the product again") from error
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise MetadataError(
            "declares a document type or entities", where=path, cure="no Sentinel-2 product does: discard"
        )
    try:
        return ET.fromstring(content)
    except ET.ParseError as error:
        raise MetadataError(f"cannot be parsed ({error})", where=path, cure="fetch the product again") from error


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


def _offsets(tree: ET.Element, tag: str, path: Path) -> dict[str, float]:
    """Return the offset in DN of every band: 0 where the product, older than baseline 04.00, has no list."""
    elements = list(tree.iter(tag))
    if not elements:
        return dict.fromkeys(BANDS, 0.0)
    offsets: dict[str, float] = {}
    for element in elements:
        band_id = element.get("band_id", "")
        if band_id not in _BAND_BY_ID:
            raise MetadataError(
                f"{tag} is for unknown band_id {band_id!r}", where=path, cure="fetch the product again"
            )
        try:
            offsets[_BAND_BY_ID[band_id]] = float(_text(element))
        except ValueError:
            raise MetadataError(
                f"{tag} {band_id} = {_text(element)!r} is no number", where=path, cure="fetch the product again"
            ) from None
    missing = [name for name in BANDS if name not in offsets]
    if missing:
        raise MetadataError(
            f"{tag} lacks {', '.join(missing)}", where=path, cure="an offset is never guessed: fetch again"
        )
    return offsets


def _grids(granule: ET.Element, path: Path) -> dict[int, Grid]:
    crs = _one(granule, "HORIZONTAL_CS_CODE", path)
    sizes = {e.get("resolution"): e for e in granule.iter("Size")}
    positions = {e.get("resolution"): e for e in granule.iter("Geoposition")}
    grids = {}
    for gsd_m in (10, 20, 60):
        size, position = sizes.get(str(gsd_m)), positions.get(str(gsd_m))
        if size is None or position is None:
            raise MetadataError(f"has no geocoding at {gsd_m} m", where=path, cure="fetch the product again")
        height, width = int(_number(size, "NROWS", path)), int(_number(size, "NCOLS", path))
        corner = (_number(position, "ULX", path, at_least=-1e8), _number(position, "ULY", path, at_least=-1e8))
        grids[gsd_m] = Grid(gsd_m, height, width, *corner, crs)
    fine = grids[10]
    for grid in (grids[20], grids[60]):
        ratio = grid.gsd_m // 10
        nested = (grid.height * ratio, grid.width * ratio) == (fine.height, fine.width)
        if not nested or (grid.ulx_m, grid.uly_m) != (fine.ulx_m, fine.uly_m):
            raise MetadataError(
                f"the {grid.gsd_m} m grid ({grid.height} x {grid.width} px) does not nest in the 10 m grid "
                f"({fine.height} x {fine.width} px)", where=path, cure="the three grids must cover the same ground",
            )  # fmt: skip
    return grids


def _band_files(root: Path, images: list[str], level: str) -> dict[str, Path]:
    """Return each band's file at its native GSD. L2A's resampled copies at coarser GSDs are left alone."""
    files = {}
    for image in images:
        for name, band in BANDS.items():
            suffix = f"_{name}" if level == "L1C" else f"_{name}_{band.gsd_m}m"
            if image.endswith(suffix):
                files[name] = root / f"{image}.jp2"
    return files


def _quality_files(root: Path, granule: ET.Element) -> dict[str, Path]:
    found = (e for e in granule.iter("MASK_FILENAME") if e.get("type") == "MSK_QUALIT")
    return {_BAND_BY_ID[e.get("bandId", "")]: root / _text(e) for e in found if e.get("bandId") in _BAND_BY_ID}


def _scene_class(root: Path, images: list[str]) -> Path | None:
    return next((root / f"{image}.jp2" for image in images if image.endswith("_SCL_20m")), None)
