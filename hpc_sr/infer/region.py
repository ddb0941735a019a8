"""A part of an image that somebody asks for: in degrees, metres of the image's system, or 10 m pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from hpc_sr.errors import RegionError
from hpc_sr.infer.windows import Area
from hpc_sr.sentinel2.metadata import Grid

#: Regions begin and end on 60 m pixels: whole pixels of every band.
_SNAP_PX = 6


@dataclass(frozen=True)
class Region:
    """Four numbers and what they mean.

    `lonlat` and `map`: left, bottom, right, top in degrees or in metres of the image's reference system; `pixels`:
    row, column, height, width on the 10 m grid.
    """

    kind: Literal["lonlat", "map", "pixels"]
    numbers: tuple[float, float, float, float]


def parse_region(kind: Literal["lonlat", "map", "pixels"], text: str, option: str) -> Region:
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
    if kind != "pixels" and (c <= a or d <= b):
        raise RegionError(f"{text!r} holds no pixel", where=option, cure="give the smaller coordinates first")
    return Region(kind, numbers)


def area_of(region: Region | None, grid: Grid) -> Area:
    """Return the 10 m pixels of a region: snapped outwards to 60 m, cut where the image ends; all without a region.

    Raises RegionError if nothing of it lies in the image.
    """
    whole = Area(0, 0, grid.height, grid.width)
    if region is None:
        return whole
    if region.kind == "pixels":
        row, column, height, width = (int(number) for number in region.numbers)
        asked = Area(row, column, height, width)
    else:
        left, bottom, right, top = _on_map(region, grid)
        first_row, first_column = _floor((grid.uly_m - top) / grid.gsd_m), _floor((left - grid.ulx_m) / grid.gsd_m)
        last_row, last_column = (
            -_floor(-(grid.uly_m - bottom) / grid.gsd_m),
            -_floor((grid.ulx_m - right) / grid.gsd_m),
        )
        asked = Area(first_row, first_column, last_row - first_row, last_column - first_column)
    inside = asked.aligned(_SNAP_PX).within(grid.height, grid.width)
    if asked.within(grid.height, grid.width).height <= 0 or asked.within(grid.height, grid.width).width <= 0:
        west, south, east, north = transform_bounds(grid.crs, "EPSG:4326", *bounds_of(whole, grid))
        raise RegionError(
            f"{region.kind} {','.join(f'{n:.10g}' for n in region.numbers)} lies outside the image",
            where="region",
            cure=f"the image is {grid.height} x {grid.width} px at {west:.4f},{south:.4f},"
            f"{east:.4f},{north:.4f} (lon/lat), {','.join(f'{m:.0f}' for m in bounds_of(whole, grid))} in {grid.crs}",
        )
    return inside


def bounds_of(area: Area, grid: Grid) -> tuple[float, float, float, float]:
    """Return left, bottom, right, top of an area in metres of the grid's system."""
    left, top = grid.ulx_m + area.column * grid.gsd_m, grid.uly_m - area.row * grid.gsd_m
    return left, top - area.height * grid.gsd_m, left + area.width * grid.gsd_m, top


def _on_map(region: Region, grid: Grid) -> tuple[float, float, float, float]:
    if region.kind == "map":
        return region.numbers
    try:
        return transform_bounds("EPSG:4326", grid.crs, *region.numbers)
    except (RasterioError, ValueError) as error:
        raise RegionError(
            f"{region.numbers} cannot be projected to {grid.crs} ({error})",
            where="region",
            cure="give degrees: west,south,east,north",
        ) from error


def _floor(pixels: float) -> int:
    # A coordinate that was computed from a pixel's edge is that edge.
    nearest = round(pixels)
    return int(nearest if abs(pixels - nearest) < 1e-6 else pixels // 1)
