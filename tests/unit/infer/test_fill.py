"""Filling: nearest values, untouched measurements, no trace of the tiling."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_cdt

from hpc_sr.infer.fill import fill_missing, read_filled
from hpc_sr.infer.windows import Area


@pytest.mark.parametrize("seed", range(6))
def test_filled_values_do_not_depend_on_the_area_read(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(20, 60, 2)
    image = rng.uniform(-500, 9000, (height, width)).astype(np.float32)
    missing = rng.random((height, width)) < (0.02, 0.3, 0.8)[seed % 3]
    missing[:, width // 2 :] |= seed > 2
    image[missing] = np.nan
    reach = int(rng.integers(1, 9))

    def read(area: Area) -> tuple[np.ndarray, np.ndarray]:
        assert area.within(height, width) == area
        return image[area.slices], missing[area.slices]

    whole = fill_missing(image, missing, reach)
    assert np.isfinite(whole).all() and np.array_equal(whole[~missing], image[~missing])
    assert (whole[distance_transform_cdt(missing, "chessboard") > reach] == 0).all()
    for _ in range(20):
        row, column = rng.integers(0, height - 1), rng.integers(0, width - 1)
        area = Area(row, column, rng.integers(1, height - row + 1), rng.integers(1, width - column + 1))
        assert np.array_equal(read_filled(read, area, height, width, reach), whole[area.slices])


def test_a_hole_becomes_the_mean_of_its_neighbours_and_a_cliff_is_carried_on() -> None:
    image = np.arange(25, dtype=np.float32).reshape(5, 5)
    missing = np.zeros((5, 5), bool)
    missing[2, 2] = True
    assert fill_missing(image, missing, 1)[2, 2] == np.delete(image[1:4, 1:4].ravel(), 4).mean()
    halves = np.repeat([[1.0, 2.0, 7.0, 0.0, 0.0, 0.0]], 4, 0)
    filled = fill_missing(halves, halves == 0, 2)
    assert (filled == [1, 2, 7, 7, 7, 0]).all()


def test_nothing_measured_gives_zeros() -> None:
    assert (fill_missing(np.full((4, 5), np.nan, np.float32), np.ones((4, 5), bool), 3) == 0).all()
