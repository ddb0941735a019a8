"""The ground that a tile covers, and what two tiles share: neighbours of the MGRS grid overlap, also across zones."""

from __future__ import annotations

from dataclasses import dataclass

from rasterio.warp import transform_bounds

from hpc_sr.sentinel2.metadata import Grid

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class Ground:
    """A rectangle (left, bottom, right, top) in metres of a reference system."""

    crs: str
    bounds_m: Bounds


def ground_of(grid: Grid) -> Ground:
    """Return the ground of a grid."""
    right, bottom = grid.ulx_m + grid.width * grid.gsd_m, grid.uly_m - grid.height * grid.gsd_m
    return Ground(grid.crs, (grid.ulx_m, bottom, right, grid.uly_m))


def overlap(mine: Ground, other: Ground) -> Bounds | None:
    """Return the rectangle of mine, in its own system, outside of which nothing of the other lies; None if apart."""
    bounds = other.bounds_m
    if other.crs != mine.crs:
        # Far from its zone a projection means nothing: what is apart on the globe is not projected.
        globe = [transform_bounds(ground.crs, "EPSG:4326", *ground.bounds_m) for ground in (mine, other)]
        if _shared(*globe) is None:
            return None
        bounds = transform_bounds(other.crs, mine.crs, *bounds)
    return _shared(mine.bounds_m, bounds)


def _shared(a: Bounds, b: Bounds) -> Bounds | None:
    left, bottom = max(a[0], b[0]), max(a[1], b[1])
    right, top = min(a[2], b[2]), min(a[3], b[3])
    return (left, bottom, right, top) if left < right and bottom < top else None
