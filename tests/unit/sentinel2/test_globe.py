"""Outlines on the globe: whole on either side of 180 degrees, around the poles, and the same in every zone."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc_sr.sentinel2.globe import Ring, bbox, box_of, geometry, shared_spans, signed_area, unrolled
from hpc_sr.sentinel2.ground import Ground, bounds_on_map, outline_of, overlap


def parts_of(shape: dict[str, Any]) -> list[Ring]:
    """Return the outlines of a GeoJSON geometry, having checked all that RFC 7946 asks of them."""
    kinds = {"Polygon": [shape["coordinates"]], "MultiPolygon": shape["coordinates"]}
    rings = [[(x, y) for x, y in polygon[0]] for polygon in kinds[shape["type"]]]
    assert (len(rings) > 1) == (shape["type"] == "MultiPolygon")
    for ring in rings:
        assert ring[0] == ring[-1] and len(set(ring)) == len(ring) - 1 >= 3, "closed, no point twice"
        assert signed_area(ring) > 0, "counter-clockwise"
        assert all(-180 <= x <= 180 and -90 <= y <= 90 for x, y in ring)
    return rings


@st.composite
def outlines(draw: st.DrawFn) -> list[tuple[float, float]]:
    """A star around a place, its longitudes as a projection gives them: in -180..180."""
    longitude, latitude, reach = draw(st.floats(-180, 180)), draw(st.floats(-60, 60)), draw(st.floats(0.1, 25))
    shares = draw(st.lists(st.floats(0.2, 1), min_size=5, max_size=12))
    angles = [2 * math.pi * index / len(shares) for index in range(len(shares))]
    if draw(st.booleans()):
        angles.reverse()
    places = [
        (longitude + reach * s * math.cos(a), latitude + reach * s * math.sin(a))
        for s, a in zip(shares, angles, strict=True)
    ]
    return [((x + 180) % 360 - 180, y) for x, y in places]


@given(outlines(), st.integers(-3, 3))
def test_parts_add_up_to_the_whole_wherever_it_lies(points: list[tuple[float, float]], turns: int) -> None:
    ring = unrolled(points)
    shape = geometry(ring, digits=12)
    parts = parts_of(shape)
    assert sum(map(signed_area, parts)) == pytest.approx(signed_area(ring), rel=1e-9)
    west, south, east, north = bbox(ring)
    assert west > east or shape["type"] == "Polygon"
    width = (east - west) % 360
    for x, y in points:
        assert (x - west) % 360 <= width + 1e-6 or (x - west) % 360 >= 360 - 1e-6
        assert south - 1e-6 <= y <= north + 1e-6
    assert geometry([(x + 360 * turns, y) for x, y in ring])["type"] == geometry(ring)["type"]
    moved = unrolled([((x + 54 + 180) % 360 - 180, y) for x, y in points])
    assert signed_area(moved) == pytest.approx(signed_area(ring), rel=1e-9)


def test_an_outline_that_crosses_180_degrees_again_and_again_has_a_part_a_time() -> None:
    comb = [(179.0, 0), (-179.0, 0), (-179.0, 1), (179.5, 1), (179.5, 2), (-179.0, 2), (-179.0, 3), (179.0, 3)]
    for shift in range(len(comb)):
        parts = parts_of(geometry(unrolled(comb[shift:] + comb[:shift])))
        assert sorted(round(signed_area(part), 9) for part in parts) == [1, 1, 2.5]
    # Mirrored, the back of the comb is beyond.
    parts = parts_of(geometry(unrolled([(-x, y) for x, y in comb])))
    assert sorted(round(signed_area(part), 9) for part in parts) == [1, 1, 2.5]


@pytest.mark.parametrize("west", [179.0, 180.0, -180.0, -179.0, 0.0, 185.0])
def test_an_edge_on_180_degrees_is_no_crossing(west: float) -> None:
    ring = unrolled([(west, 0), (west + 1, 0), (west + 1, 1), (west, 1)])
    (part,) = parts_of(geometry(ring))
    assert signed_area(part) == 1
    box = bbox(ring)
    assert box[2] - box[0] == 1 and box_of(part) == box


@pytest.mark.parametrize(("crs", "pole"), [("EPSG:32661", 90), ("EPSG:3031", -90), ("EPSG:3413", 90)])
def test_an_outline_around_a_pole_holds_it(crs: str, pole: float) -> None:
    x, y = (2e6, 2e6) if crs == "EPSG:32661" else (0, 0)
    ring = outline_of(Ground(crs, (x - 1e5, y - 2e5, x + 3e5, y + 1.5e5)))
    (part,) = parts_of(geometry(ring))
    west, south, east, north = bbox(ring)
    assert (west, east) == (-180, 180) and pole in (south, north)
    assert 360 * 1 < signed_area(part) < 360 * 4


#: Southern and northern ends of UTM, both sides of the equator, and in between.
PLACES = [("327", 1_118_000), ("327", 5_000_000), ("327", 9_890_220), ("326", -9_780), ("326", 5e6), ("326", 9_219_000)]


@pytest.mark.parametrize(("family", "bottom"), PLACES)
@pytest.mark.parametrize("left", [177_420.0, 499_980.0, 720_000.0, 820_020.0])
def test_the_same_place_of_every_zone_has_the_same_shape(family: str, bottom: float, left: float) -> None:
    def ground(zone: int) -> Ground:
        return Ground(f"EPSG:{family}{zone:02d}", (left, bottom, left + 109_800, bottom + 109_800))

    def neighbour(zone: int) -> Ground:
        return Ground(f"EPSG:{family}{zone % 60 + 1:02d}", (177_420.0, bottom, 287_220.0, bottom + 109_800))

    first, shared = outline_of(ground(31)), overlap(neighbour(31), ground(31))
    for zone in range(1, 61):
        ring = outline_of(ground(zone))
        assert signed_area(ring) == pytest.approx(signed_area(first), rel=1e-9)
        assert sum(map(signed_area, parts_of(geometry(ring, 12)))) == pytest.approx(signed_area(ring), rel=1e-6)
        west, south, east, north = bbox(ring)
        wanted = bbox(first)
        assert (south, north) == pytest.approx((wanted[1], wanted[3]), abs=1e-6)
        assert (east - west) % 360 == pytest.approx(wanted[2] - wanted[0], abs=1e-6)
        # What two neighbours share is the same between zones 60 and 1 as anywhere.
        found = overlap(neighbour(zone), ground(zone))
        assert (found is None) == (shared is None)
        assert found is None or found == pytest.approx(shared, abs=1e-3)
        assert overlap(ground(zone), ground(zone)) == ground(zone).bounds_m
        assert overlap(ground(zone), Ground(f"EPSG:{family}{(zone + 29) % 60 + 1:02d}", ground(zone).bounds_m)) is None


def test_hemispheres_share_ground_at_the_equator_also_across_180_degrees() -> None:
    north = Ground("EPSG:32660", (790_000, -9_780, 899_800, 100_020))
    south = Ground("EPSG:32701", (100_000, 9_900_000, 209_800, 10_009_800))
    assert overlap(north, south) is not None and overlap(south, north) is not None


@given(st.floats(-720, 720), st.floats(0.01, 359), st.floats(-720, 720), st.floats(0.01, 359))
def test_spans_of_longitude_meet_where_they_have_a_meridian_in_common(
    west: float, width: float, other: float, other_width: float
) -> None:
    parts = shared_spans((west, west + width), (other, other + other_width))
    for start, end in parts:
        assert west <= start < end <= west + width
        assert ((start + end) / 2 - other) % 360 <= other_width
    inside = [place for place in range(360) if (place - west) % 360 < width and (place - other) % 360 < other_width]
    assert all(any((place - start) % 360 <= end - start for start, end in parts) for place in inside)


def test_a_box_of_degrees_is_found_on_the_map_on_every_turn() -> None:
    ground = Ground("EPSG:32701", (100_000, 8_000_000, 209_800, 8_109_800))
    expected = bounds_on_map((179.9, -18, 180.1, -17.5), ground)
    assert expected is not None
    for turn in (-360, 360, 720):
        assert bounds_on_map((179.9 + turn, -18, 180.1 + turn, -17.5), ground) == pytest.approx(expected, abs=1e-6)
    assert bounds_on_map((-0.1, -18, 0.1, -17.5), ground) is None
    # The whole globe is all that is near: nothing is projected that is far.
    left, bottom, right, top = bounds_on_map((-180, -90, 180, 90), ground) or (0, 0, 0, 0)
    assert left < 100_000 and bottom < 8_000_000 and right > 209_800 and top > 8_109_800
