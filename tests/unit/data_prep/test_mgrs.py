"""Tiles lie where real products lie."""

from __future__ import annotations

from pathlib import Path

import pytest
import rasterio

from data_prep.mgrs import tile, tile_of_seed
from hpc_sr.errors import ProductError


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
