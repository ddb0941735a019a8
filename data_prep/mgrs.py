"""The Sentinel-2 tiling: an MGRS name becomes a reference system and a corner.

A tile starts at the upper left of its 100 km square, moved outwards to a multiple of 60 m counted from the equator,
so that the 10, 20 and 60 m grids nest. Source: the tiling of the product specification; checked against products.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hpc_sr.errors import ProductError

_LATITUDE_BANDS = "CDEFGHJKLMNPQRSTUVWX"
_COLUMNS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
_SQUARE_M = 100_000
_ROW_CYCLE_M = len(_ROWS) * _SQUARE_M
_UNIT_M = 60
_METRES_PER_DEGREE = 110_900
_SOUTHERN_FALSE_NORTHING_M = 10_000_000


@dataclass(frozen=True)
class Tile:
    """A tile: its MGRS name, reference system ("EPSG:32633") and upper-left corner in metres."""

    name: str
    crs: str
    ulx_m: int
    uly_m: int


def tile(name: str) -> Tile:
    """Return the tile called `name` ("33UUB", "T33UUB"). Raises ProductError for what is no MGRS tile."""
    found = re.fullmatch(r"T?([0-9]{2})([C-HJ-NP-X])([A-HJ-NP-Z])([A-HJ-NP-V])", name)
    zone = int(found.group(1)) if found else 0
    columns = _COLUMNS[(zone - 1) % 3 * 8 :][:8]
    if not found or not 1 <= zone <= 60 or found.group(3) not in columns:
        raise ProductError(f"{name!r} is no MGRS tile", cure="write zone, band and square as in 33UUB")
    band, column, row = found.groups()[1:]
    ulx_m = (columns.index(column) + 1) * _SQUARE_M // _UNIT_M * _UNIT_M
    # Rows repeat every 2000 km; even zones start five letters on. The latitude band tells which repetition is meant.
    lower_m = (_ROWS.index(row) - (0 if zone % 2 else 5)) % len(_ROWS) * _SQUARE_M
    middle_m = (8 * _LATITUDE_BANDS.index(band) - 76) * _METRES_PER_DEGREE
    north = middle_m > 0
    lower_m -= 0 if north else _SOUTHERN_FALSE_NORTHING_M
    lower_m += round((middle_m - lower_m - _SQUARE_M / 2) / _ROW_CYCLE_M) * _ROW_CYCLE_M
    uly_m = -(-(lower_m + _SQUARE_M) // _UNIT_M) * _UNIT_M
    crs = f"EPSG:{(32600 if north else 32700) + zone}"
    return Tile(f"{zone:02d}{band}{column}{row}", crs, ulx_m, uly_m if north else uly_m + _SOUTHERN_FALSE_NORTHING_M)


def tile_of_seed(seed: int) -> Tile:
    """Return a tile of middle northern latitudes that no other of 512 successive seeds has."""
    zone = 29 + seed % 8
    column = _COLUMNS[(zone - 1) % 3 * 8 + 2 + seed // 8 % 4]
    # Squares by their lower edge in 100 km: those that lie in one latitude band with their whole height.
    lower = (*range(45, 53), *range(54, 62))[seed // 32 % 16]
    row = _ROWS[(lower + (0 if zone % 2 else 5)) % len(_ROWS)]
    return tile(f"{zone:02d}{'T' if lower < 54 else 'U'}{column}{row}")
