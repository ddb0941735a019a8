"""The ground that a tile covers, and what two tiles share: neighbours of the MGRS grid overlap, also across zones."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from rasterio.warp import transform, transform_bounds

from hpc_sr.errors import ImageError
from hpc_sr.sentinel2.globe import Box, Ring, box_of, shared_spans, unrolled
from hpc_sr.sentinel2.local_rasters import RASTER_ERRORS
from hpc_sr.sentinel2.metadata import Grid

Bounds = tuple[float, float, float, float]

_DEGREES = "EPSG:4326"
#: Points on each side of an outline: a straight line of a projection is none on the globe.
_POINTS_A_SIDE, _POINTS_A_SIDE_OF_A_BOX = 8, 32
#: Far from its zone a projection means nothing. What is farther from an image than this is not projected to its map;
#: it is far more than what an outline of few points loses.
_NEAR_DEG = 0.1


@dataclass(frozen=True)
class Ground:
    """A rectangle (left, bottom, right, top) in metres of a reference system."""

    crs: str
    bounds_m: Bounds


def ground_of(grid: Grid) -> Ground:
    """Return the ground of a grid."""
    right, bottom = grid.ulx_m + grid.width * grid.gsd_m, grid.uly_m - grid.height * grid.gsd_m
    return Ground(grid.crs, (grid.ulx_m, bottom, right, grid.uly_m))


def grown(ground: Ground, by_m: float) -> Ground:
    """Return the ground with so much more on every side, or less."""
    left, bottom, right, top = ground.bounds_m
    return Ground(ground.crs, (left - by_m, bottom - by_m, right + by_m, top + by_m))


def outline_of(ground: Ground) -> Ring:
    """Return the outline of a ground on the globe (hpc_sr.sentinel2.globe).

    Raises ImageError if a part of it lies where its reference system means nothing.
    """
    return unrolled(_projected(ground.crs, _DEGREES, _along(ground.bounds_m, _POINTS_A_SIDE)))


def bounds_on_map(box: Box, ground: Ground) -> Bounds | None:
    """Return the rectangle of the ground's own system around what lies in a box of degrees; None if all is far off.

    West <= east, on any turn of the circle. Only what is near the ground is looked at.
    """
    west, south, east, north = box_of(outline_of(ground))
    south, north = max(south - _NEAR_DEG, box[1]), min(north + _NEAR_DEG, box[3])
    spans = shared_spans((west - _NEAR_DEG, east + _NEAR_DEG), (box[0], box[2]))
    points = [
        point
        for start, end in spans
        if south < north
        for point in _projected(_DEGREES, ground.crs, _along((start, south, end, north), _POINTS_A_SIDE_OF_A_BOX))
    ]
    return box_of(points) if points else None


def overlap(mine: Ground, other: Ground) -> Bounds | None:
    """Return the rectangle of mine, in its own system, outside of which nothing of the other lies; None if apart."""
    bounds = other.bounds_m
    if other.crs != mine.crs:
        if not _are_near(box_of(outline_of(mine)), box_of(outline_of(other))):
            return None
        bounds = transform_bounds(other.crs, mine.crs, *bounds)
    return _shared(mine.bounds_m, bounds)


def _are_near(a: Box, b: Box) -> bool:
    longitudes = shared_spans((a[0] - _NEAR_DEG, a[2] + _NEAR_DEG), (b[0], b[2]))
    return bool(longitudes) and max(a[1], b[1]) < min(a[3], b[3]) + _NEAR_DEG


def _along(bounds: Bounds, points_a_side: int) -> list[tuple[float, float]]:
    """Return points along a rectangle, counter-clockwise, corners among them."""
    left, bottom, right, top = bounds
    corners = [(left, top), (left, bottom), (right, bottom), (right, top), (left, top)]
    shares = [step / points_a_side for step in range(points_a_side)]
    return [
        (x0 + share * (x1 - x0), y0 + share * (y1 - y0))
        for (x0, y0), (x1, y1) in zip(corners[:-1], corners[1:], strict=True)
        for share in shares
    ]


def _projected(source: str, target: str, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    try:
        found = list(zip(*transform(source, target, *zip(*points, strict=True)), strict=True))
    except (*RASTER_ERRORS, ValueError) as error:
        raise _nowhere(source, target, str(error)) from error
    if not all(map(math.isfinite, itertools.chain(*found))):
        raise _nowhere(source, target, "infinitely far")
    return found


def _nowhere(source: str, target: str, problem: str) -> ImageError:
    return ImageError(
        f"cannot be placed in {target}: {problem}",
        where=source,
        cure="georeference the image where its system is meant",
    )


def _shared(a: Bounds, b: Bounds) -> Bounds | None:
    left, bottom = max(a[0], b[0]), max(a[1], b[1])
    right, top = min(a[2], b[2]), min(a[3], b[3])
    return (left, bottom, right, top) if left < right and bottom < top else None
