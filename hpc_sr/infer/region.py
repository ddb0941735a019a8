"""A part of an image that somebody asks for: in degrees, metres of the image's system, or 10 m pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hpc_sr.errors import RegionError
from hpc_sr.infer.windows import Area
from hpc_sr.sentinel2.globe import bbox
from hpc_sr.sentinel2.ground import Bounds, bounds_on_map, ground_of, outline_of
from hpc_sr.sentinel2.metadata import Grid

#: Regions begin and end on 60 m pixels: whole pixels of every band.
_SNAP_PX = 6


#: What the numbers of a region mean.
Kind = Literal["lonlat", "map", "pixels"]


@dataclass(frozen=True)
class Region:
    """Four numbers and what they mean.

    `lonlat` and `map`: left, bottom, right, top in degrees or in metres of the image's reference system; west > east
    is a region across 180 degrees. `pixels`: row, column, height, width on the 10 m grid.
    """

    kind: Kind
    numbers: tuple[float, float, float, float]


def one_region(asked: Sequence[tuple[Kind, str | None, str]]) -> Region | None:
    """Return the region of the only (kind, text, option) that has a text; None if none has. Raises RegionError."""
    given = [(kind, text, option) for kind, text, option in asked if text is not None]
    if len(given) > 1:
        raise RegionError("are given both", where=" and ".join(option for _, _, option in given), cure="give one")
    return parse_region(*given[0]) if given else None


def parse_region(kind: Kind, text: str, option: str) -> Region:
    """Return the region in "a,b,c,d". Raises RegionError naming the option for anything else."""
    try:
        a, b, c, d = (float(part) for part in text.split(","))
    except ValueError as error:
        cure = "row,column,height,width" if kind == "pixels" else "left,bottom,right,top: west,south,east,north"
        raise RegionError(f"{text!r} is not four numbers", where=option, cure=f"give {cure}") from error
    numbers = (a, b, c, d)
    if not all(abs(number) < 1e9 for number in numbers):
        raise RegionError(f"{text!r} lies in no image", where=option, cure="give finite numbers, below 1e9")
    if kind == "pixels" and not all(number.is_integer() for number in numbers):
        raise RegionError(f"{text!r} cuts through pixels", where=option, cure="give whole numbers of 10 m pixels")
    if kind == "pixels" and min(c, d) <= 0:
        raise RegionError(f"{text!r} holds no pixel", where=option, cure="give a height and width above 0")
    if kind == "lonlat" and not (max(abs(b), abs(d)) <= 90 and min(a, c) >= -180 and max(a, c) <= 360):
        cure = "give degrees: west,south,east,north; longitudes are -180 to 180, or 0 to 360, latitudes -90 to 90"
        raise RegionError(f"{text!r} is not on the globe", where=option, cure=cure)
    # Across 180 degrees west > east; more than half the globe is rather a region in the wrong order.
    across = kind == "lonlat" and 0 < c + 360 - a < 180
    if kind != "pixels" and (d <= b or (c <= a and not across)):
        cure = "give the smaller coordinates first" + ("; west > east only across 180 degrees" * (kind == "lonlat"))
        raise RegionError(f"{text!r} holds no pixel", where=option, cure=cure)
    return Region(kind, numbers)


def area_of(region: Region | None, grid: Grid) -> Area:
    """Return the 10 m pixels of a region: snapped outwards to 60 m, cut where the image ends; all without a region.

    Raises RegionError if nothing of it lies in the image.
    """
    whole = Area(0, 0, grid.height, grid.width)
    if region is None:
        return whole
    asked = _asked(region, grid)
    inside = None if asked is None else asked.within(grid.height, grid.width)
    if asked is None or inside is None or min(inside.height, inside.width) <= 0:
        west, south, east, north = bbox(outline_of(ground_of(grid)))
        raise RegionError(
            f"{region.kind} {','.join(f'{n:.10g}' for n in region.numbers)} lies outside the image",
            where="region",
            cure=f"the image is {grid.height} x {grid.width} px at {west:.4f},{south:.4f},"
            f"{east:.4f},{north:.4f} (lon/lat), {','.join(f'{m:.0f}' for m in bounds_of(whole, grid))} in {grid.crs}",
        )
    return asked.aligned(_SNAP_PX).within(grid.height, grid.width)


def _asked(region: Region, grid: Grid) -> Area | None:
    """Return the 10 m pixels that a region touches, in the image or not; None if it is far from the image."""
    if region.kind == "pixels":
        row, column, height, width = (int(number) for number in region.numbers)
        return Area(row, column, height, width)
    bounds = _on_map(region, grid)
    if bounds is None:
        return None
    left, bottom, right, top = bounds
    first_row, first_column = _floor((grid.uly_m - top) / grid.gsd_m), _floor((left - grid.ulx_m) / grid.gsd_m)
    last_row, last_column = -_floor(-(grid.uly_m - bottom) / grid.gsd_m), -_floor((grid.ulx_m - right) / grid.gsd_m)
    return Area(first_row, first_column, last_row - first_row, last_column - first_column)


def bounds_of(area: Area, grid: Grid) -> tuple[float, float, float, float]:
    """Return left, bottom, right, top of an area in metres of the grid's system."""
    left, top = grid.ulx_m + area.column * grid.gsd_m, grid.uly_m - area.row * grid.gsd_m
    return left, top - area.height * grid.gsd_m, left + area.width * grid.gsd_m, top


def _on_map(region: Region, grid: Grid) -> Bounds | None:
    """Return left, bottom, right, top of a region in the grid's system; None if it is far from the grid."""
    if region.kind == "map":
        return region.numbers
    west, south, east, north = region.numbers
    return bounds_on_map((west, south, east + 360 if east < west else east, north), ground_of(grid))


def _floor(pixels: float) -> int:
    # A coordinate that was computed from a pixel's edge is that edge.
    nearest = round(pixels)
    return int(nearest if abs(pixels - nearest) < 1e-6 else pixels // 1)
