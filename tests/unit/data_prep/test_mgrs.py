"""Tiles lie where real products lie."""

from __future__ import annotations

from pathlib import Path

import pytest
import rasterio

from data_prep.mgrs import tile, tile_of_seed
from hpc_sr.errors import ProductError
from hpc_sr.sentinel2.globe import box_of
from hpc_sr.sentinel2.ground import Ground, outline_of


@pytest.mark.parametrize("name", ["34UCF", "34VFJ", "55JEJ", "T32TLS", "31TDH"])
def test_tiles_lie_where_real_products_lie(shared_data: Path, name: str) -> None:
    corners = {
        "34UCF": ("EPSG:32634", 300_000, 6_100_020),
        "34VFJ": ("EPSG:32634", 600_000, 6_400_020),
        "55JEJ": ("EPSG:32755", 499_980, 6_900_040),
        "T32TLS": ("EPSG:32632", 300_000, 5_200_020),
        "31TDH": ("EPSG:32631", 399_960, 4_800_000),
    }
    found = tile(name)
    assert (found.crs, found.ulx_m, found.uly_m) == corners[name]
    for file in (shared_data / "safe" / "jp2").glob(f"*{name}*.jp2"):
        with rasterio.open(file) as dataset:
            assert (dataset.transform.c, dataset.transform.f) == (found.ulx_m, found.uly_m)


def test_every_seed_has_its_own_tile() -> None:
    tiles = [tile_of_seed(seed) for seed in range(512)]
    assert len({t.name for t in tiles}) == 512
    assert all(t.ulx_m % 60 == 0 and t.uly_m % 60 == 0 for t in tiles)


@pytest.mark.parametrize("name", ["33UB", "61UUB", "00UUB", "33IUB", "33UAB", "33UUW", "33uub"])
def test_what_is_no_tile_is_refused(name: str) -> None:
    with pytest.raises(ProductError, match="no MGRS tile"):
        tile(name)


@pytest.mark.parametrize("zone", [1, 2, 31, 60])
def test_every_square_from_80_south_to_84_north_is_found_by_its_name(zone: int) -> None:
    columns = "ABCDEFGHJKLMNPQRSTUVWXYZ"[(zone - 1) % 3 * 8 :][:8]
    for lower in range(-88, 93):  # lower edges in 100 km from the equator, beside the central meridian
        family, false_m = ("326", 0) if lower >= 0 else ("327", 10_000_000)
        x, y = 520_000, lower * 100_000 + 50_000 + false_m
        west, south, east, north = box_of(outline_of(Ground(f"EPSG:{family}{zone:02d}", (x, y, x + 1, y + 1))))
        assert (west + 180) % 360 // 6 + 1 == zone and -80 < south < north < 84
        band = "CDEFGHJKLMNPQRSTUVWXX"[int((south + 80) // 8)]
        row = "ABCDEFGHJKLMNPQRSTUV"[(lower + (0 if zone % 2 else 5)) % 20]
        found = tile(f"{zone:02d}{band}{columns[4]}{row}")
        assert (found.crs, found.ulx_m) == (f"EPSG:{family}{zone:02d}", 499_980)
        assert 0 <= found.uly_m - (lower + 1) * 100_000 - false_m < 60
