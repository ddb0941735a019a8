"""Outlines on the globe, in degrees. Longitude is a circle: a ring goes on beyond 180 and never jumps to -180.

GeoJSON has no such rings: RFC 7946 cuts them at 180 degrees (3.1.9), and lets a box across it have west > east (5.2).
"""

from __future__ import annotations

from typing import Any

#: Longitude and latitude.
Point = tuple[float, float]
#: A closed outline, counter-clockwise: the last point is the first. Neighbours are less than half a turn apart.
Ring = list[Point]
#: West, south, east, north.
Box = tuple[float, float, float, float]


def unrolled(points: list[Point]) -> Ring:
    """Return an open outline of points as a ring, whichever turn of the circle each of them was given on.

    A ring around a pole is cut open at 180 degrees, spans a whole turn and is closed along the pole.
    """
    ring = [points[0]]
    for longitude, latitude in [*points[1:], points[0]]:
        ring.append((longitude - 360 * round((longitude - ring[-1][0]) / 360), latitude))
    if abs(ring[-1][0] - ring[0][0]) > 180:
        pole = 90.0 if sum(latitude for _, latitude in points) > 0 else -90.0
        ring = _opened(ring)
        ring += [(ring[-1][0], pole), (ring[0][0], pole), ring[0]]
    return ring if signed_area(ring) > 0 else ring[::-1]


def box_of(ring: Ring) -> Box:
    """Return the box around a ring, on the ring's own turn of the circle: never west > east."""
    longitudes, latitudes = zip(*ring, strict=True)
    return min(longitudes), min(latitudes), max(longitudes), max(latitudes)


def shared_spans(mine: tuple[float, float], other: tuple[float, float]) -> list[tuple[float, float]]:
    """Return where two spans of longitude (west <= east, on any turn) meet, as parts of mine."""
    (west, east), (other_west, other_east) = mine, other
    turns = range(int((west - other_east) // 360), int((east - other_west) // 360) + 1)
    parts = [(max(west, other_west + 360 * turn), min(east, other_east + 360 * turn)) for turn in turns]
    return [(start, end) for start, end in parts if start < end]


def bbox(ring: Ring, digits: int = 7) -> Box:
    """Return the box around a ring as GeoJSON has it, rounded: in -180..180, west > east across 180 degrees."""
    west, south, east, north = (round(edge, digits) for edge in box_of(_on_first_turn(ring)))
    if east - west >= 360:
        return -180.0, south, 180.0, north
    return west, south, east - 360 if east > 180 else east, north


def geometry(ring: Ring, digits: int = 7) -> dict[str, Any]:
    """Return a ring as GeoJSON, rounded: a Polygon, or a MultiPolygon of its parts on either side of 180 degrees."""
    ring = _on_first_turn(ring)
    beyond = [_turned(part) for part in _west_of(_turned(ring), -180.0)]
    parts = [*_west_of(ring, 180.0), *([(x - 360, y) for x, y in part] for part in beyond)]
    rounded = [_without_repeats([(round(x, digits), round(y, digits)) for x, y in part]) for part in parts]
    polygons = [[[list(point) for point in part]] for part in rounded]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def signed_area(ring: Ring) -> float:
    """Return the area of a ring in square degrees, positive if it is counter-clockwise."""
    x0, y0 = ring[0]  # near the ring, so that the products do not cancel
    pairs = zip(ring[:-1], ring[1:], strict=True)
    return sum((ax - x0) * (by - y0) - (bx - x0) * (ay - y0) for (ax, ay), (bx, by) in pairs) / 2


def _opened(ring: Ring) -> Ring:
    """Return a ring around a pole, which ends a turn after its beginning, beginning and ending at 180 degrees."""
    ring = ring if ring[-1][0] > ring[0][0] else ring[::-1]
    seam = 180 + 360 * ((ring[0][0] + 180) // 360)
    index = next(index for index, (x, _) in enumerate(ring) if x >= seam)
    (ax, ay), (bx, by) = ring[index - 1], ring[index]
    latitude = ay + (by - ay) * (seam - ax) / (bx - ax)
    after, before = ring[index:-1], [(x + 360, y) for x, y in ring[:index]]
    return [(seam, latitude), *after, *before, (seam + 360, latitude)]


def _on_first_turn(ring: Ring) -> Ring:
    """Return a ring whose west is in -180 .. 180, without 180."""
    turns = (min(x for x, _ in ring) + 180) // 360
    return [(x - 360 * turns, y) for x, y in ring]


def _turned(ring: Ring) -> Ring:
    """Return a ring turned by half a circle around (0, 0): what was east of a meridian is west of its opposite."""
    return [(-x, -y) for x, y in ring]


def _west_of(ring: Ring, meridian: float) -> list[Ring]:
    """Return the parts of a ring that lie west of a meridian, closed along it; none that is only a line on it."""
    outside = [x > meridian for x, _ in ring]
    if not any(outside):
        return [ring] if any(x < meridian for x, _ in ring) else []
    start = outside.index(True)
    points = [*ring[start:-1], *ring[: start + 1]]  # begins and ends outside
    chains: list[Ring] = []
    for (ax, ay), (bx, by) in zip(points[:-1], points[1:], strict=True):
        if (ax > meridian) != (bx > meridian):
            crossing = (meridian, ay + (by - ay) * (meridian - ax) / (bx - ax))
            if ax > meridian:
                chains.append([crossing])
            else:
                chains[-1].append(crossing)
        if bx <= meridian:
            chains[-1].append((bx, by))
    rings = []
    while chains:
        part = chains.pop(0)
        # The inside is on the left: along the meridian it goes north, to the next place where the ring comes in.
        while (following := _next_north([*chains, part], part[-1][1])) is not part:
            chains.remove(following)
            part += following
        rings.append([*part, part[0]])
    return [part for part in rings if any(x < meridian for x, _ in part)]


def _next_north(chains: list[Ring], latitude: float) -> Ring:
    """Return the chain that begins nearest to a latitude, there or north of it; of none the southernmost."""
    return min(chains, key=lambda chain: (chain[0][1] < latitude, chain[0][1]))


def _without_repeats(ring: Ring) -> Ring:
    return [ring[0], *(b for a, b in zip(ring[:-1], ring[1:], strict=True) if a != b)]
