"""The vector masks of products older than baseline 04.00: GML polygons in metres of the tile's reference system."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from hpc_sr.errors import MetadataError

_GML = "{http://www.opengis.net/gml/3.2}"
#: Rings end where they began, up to rounding.
_CLOSED_M = 1.0
#: Farther off than any tile of a zone.
_FARTHEST_M = 1e8
_LAST_DETECTOR = 12
_DETECTOR = re.compile(r"detector_footprint-B\w+-(\d{1,9})-\d+")


@dataclass(frozen=True)
class Region:
    """A marked region: its mask type ("OPAQUE", "QT_DEFECTIVE_PIXELS"), detector (0 if none), outer ring, holes."""

    kind: str
    detector: int
    rings: tuple[tuple[tuple[float, float], ...], ...]


def read_regions(tree: ET.Element, where: Path) -> list[Region]:
    """Return the regions of a mask.

    Raises MetadataError for a region of no type, a footprint of no detector, and a ring that is no closed list of
    positions: a region that cannot be read is not taken for none.
    """
    regions = []
    for feature in (element for element in tree.iter() if element.tag.endswith("MaskFeature")):
        kind = next((e.text or "" for e in feature.iter() if e.tag.endswith("maskType")), "").strip()
        found = _DETECTOR.fullmatch(feature.get(f"{_GML}id", ""))
        detector = int(found.group(1)) if found else 0
        if not kind or detector > _LAST_DETECTOR or (kind == "DETECTOR_FOOTPRINT" and not detector):
            raise MetadataError(
                f"marks a region of type {kind!r} and detector {detector}", where=where, cure="fetch the product again"
            )
        for polygon in feature.iter(f"{_GML}Polygon"):
            outer = [_ring(e, where) for side in polygon.iter(f"{_GML}exterior") for e in side.iter(f"{_GML}posList")]
            holes = [_ring(e, where) for side in polygon.iter(f"{_GML}interior") for e in side.iter(f"{_GML}posList")]
            if not outer:
                raise MetadataError("has a polygon of no positions", where=where, cure="fetch the product again")
            regions.append(Region(kind, detector, (outer[0], *holes)))
    return regions


def _ring(element: ET.Element, where: Path) -> tuple[tuple[float, float], ...]:
    try:
        numbers = [float(text) for text in (element.text or "").split()]
        dimension = int(element.get("srsDimension", "2"))  # GML's own default; three read as two do not close
    except ValueError:
        numbers, dimension = [], 0
    points = tuple(zip(numbers[0::dimension], numbers[1::dimension], strict=True)) if _fits(numbers, dimension) else ()
    if len(points) < 4 or max(abs(a - b) for a, b in zip(points[0], points[-1], strict=True)) > _CLOSED_M:
        raise MetadataError(
            f"has a polygon of {len(points)} positions that is not closed",
            where=where,
            cure="the mask is damaged: fetch the product again",
        )
    return points


def _fits(numbers: list[float], dimension: int) -> bool:
    """Return whether numbers are whole positions somewhere on the ground; NaN lies nowhere."""
    return dimension in (2, 3) and len(numbers) % dimension == 0 and all(abs(n) < _FARTHEST_M for n in numbers)
