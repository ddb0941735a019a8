"""Regions: snapped outwards to 60 m, cut at the border, refused outside."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from rasterio.warp import transform

from hpc_sr.errors import RegionError
from hpc_sr.infer.region import Region, area_of, bounds_of, parse_region
from hpc_sr.infer.windows import Area
from hpc_sr.sentinel2.globe import bbox
from hpc_sr.sentinel2.ground import ground_of, outline_of
from hpc_sr.sentinel2.metadata import Grid

GRID = Grid(10, 1200, 900, 399_960.0, 5_000_040.0, "EPSG:32632")


@pytest.mark.parametrize("seed", range(5))
def test_the_three_ways_of_asking_meet(seed: int) -> None:
    rng = np.random.default_rng(seed)
    row, column = (int(n) for n in rng.integers(0, 600, 2))
    asked = Area(row, column, int(rng.integers(1, 500)), int(rng.integers(1, 250)))
    found = area_of(Region("pixels", (asked.row, asked.column, asked.height, asked.width)), GRID)
    assert found == asked.aligned(6)
    assert area_of(Region("map", bounds_of(asked, GRID)), GRID) == found
    left, bottom, right, top = bounds_of(asked, GRID)
    xs, ys = transform(GRID.crs, "EPSG:4326", [left, right, left, right], [top, top, bottom, bottom])
    degrees = area_of(Region("lonlat", (min(xs), min(ys), max(xs), max(ys))), GRID)
    # Meridians are not the grid's columns: the box in degrees is a little larger, never smaller.
    assert degrees.common(found) == found.common(degrees) and degrees.common(asked) == asked
    assert degrees.height - found.height <= 48 and degrees.width - found.width <= 48


def test_all_and_what_reaches_beyond() -> None:
    assert area_of(None, GRID) == Area(0, 0, 1200, 900)
    assert area_of(Region("pixels", (1190, 890, 100, 100)), GRID) == Area(1188, 888, 12, 12)


@pytest.mark.parametrize(
    "region", [Region("pixels", (1200, 0, 6, 6)), Region("map", (0, 0, 10, 10)), Region("lonlat", (100, 10, 101, 11))]
)
def test_a_region_outside_is_refused(region: Region) -> None:
    with pytest.raises(RegionError, match="outside"):
        area_of(region, GRID)


def test_numbers_can_be_read_back() -> None:
    with pytest.raises(RegionError, match="map 300000,5700000.5,300060,5700060 lies outside"):
        area_of(Region("map", (300_000, 5_700_000.5, 300_060, 5_700_060)), GRID)


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "5,5,4,6", "nan,0,1,1", ""])
def test_what_is_no_region_is_refused(text: str) -> None:
    with pytest.raises(RegionError) as error:
        parse_region("map", text, "--region-map")
    assert "--region-map" in str(error.value) and "cure" in str(error.value)


@pytest.mark.parametrize(
    ("kind", "text", "cure"),
    [
        ("pixels", "10,10,0,60", "height and width above 0"),
        ("pixels", "10.5,10,20,20", "whole numbers"),
        ("pixels", "10,10,inf,20", "finite numbers"),
        ("lonlat", "11.81,55.87,11.85,nan", "finite numbers"),
        ("lonlat", "11.85,55.87,11.81,55.9", "smaller coordinates first"),
        ("lonlat", "11.81,55.9,11.85,55.87", "smaller coordinates first"),
        ("lonlat", "179,-16,-179,-16", "smaller coordinates first"),
        ("lonlat", "180,-16,-180,-15", "smaller coordinates first"),
        ("lonlat", "500,500,600,600", "longitudes are -180 to 180"),
        ("lonlat", "-181,10,-179,20", "longitudes are -180 to 180"),
        ("lonlat", "10,80,20,91", "latitudes -90 to 90"),
    ],
)
def test_the_cure_is_of_what_is_wrong(kind: Literal["lonlat", "pixels"], text: str, cure: str) -> None:
    with pytest.raises(RegionError) as error:
        parse_region(kind, text, "--region")
    assert cure in str(error.value.cure)


#: Grids across 180 degrees, from either side: in the south, and at the northern end of UTM.
ACROSS = [
    Grid(10, 10980, 10980, 120_000.0, 8_200_020.0, "EPSG:32701"),
    Grid(10, 10980, 10980, 760_020.0, 8_200_020.0, "EPSG:32760"),
    Grid(10, 10980, 10980, 399_960.0, 9_300_000.0, "EPSG:32601"),
    Grid(10, 10980, 10980, 499_980.0, 9_300_000.0, "EPSG:32660"),
]


def _area(text: str, grid: Grid) -> Area | None:
    try:
        return area_of(parse_region("lonlat", text, "--region"), grid)
    except RegionError as error:
        assert "lies outside" in str(error)
        return None


@pytest.mark.parametrize("grid", ACROSS, ids=["south", "south, from the west", "north", "north, from the west"])
@pytest.mark.parametrize("seed", range(8))
def test_a_region_across_180_degrees_is_its_two_halves(grid: Grid, seed: int) -> None:
    west, south, east, north = bbox(outline_of(ground_of(grid)))
    assert west > east
    rng = np.random.default_rng(seed)
    left, right = rng.uniform(west - 1, 180), rng.uniform(-180, east + 1)
    bottom, top = np.sort(rng.uniform(south - 0.2, north + 0.2, 2))
    both = _area(f"{left},{bottom},{right},{top}", grid)
    halves = [_area(f"{left},{bottom},180,{top}", grid), _area(f"-180,{bottom},{right},{top}", grid)]
    found = [half for half in halves if half is not None]
    assert (both is None) == (not found)
    if both is not None:
        rows, columns = min(h.row for h in found), min(h.column for h in found)
        assert (both.row, both.column) == (rows, columns)
        assert both.row + both.height == max(h.row + h.height for h in found)
        assert both.column + both.width == max(h.column + h.width for h in found)
    # The same on the turn of 0 to 360.
    assert _area(f"{left},{bottom},{right + 360},{top}", grid) == both


@pytest.mark.parametrize("grid", [GRID, *ACROSS])
def test_the_whole_globe_is_the_whole_image(grid: Grid) -> None:
    for text in ("-180,-90,180,90", "0,-90,360,90"):
        assert _area(text, grid) == Area(0, 0, grid.height, grid.width)
    assert _area("20,-90,30,90", grid) is None


def test_the_place_of_an_image_across_180_degrees_is_told_so() -> None:
    with pytest.raises(RegionError, match=r"at 179\.4\S*,-17\.\S*,-179\.5\S*,-16\.\S* \(lon/lat\)"):
        area_of(Region("lonlat", (100, 10, 101, 11)), ACROSS[0])
