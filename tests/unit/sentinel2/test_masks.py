"""What counts as a measurement."""

from __future__ import annotations

import numpy as np

from hpc_sr.sentinel2.masks import FULL_SCALE_DN, invalid

_DN = np.array([[0, 1, 6, 1000], [20000, FULL_SCALE_DN - 1, FULL_SCALE_DN, 65535]], np.uint16)


def _masks(nodata_dn: int = 0, saturated_dn: int = 65535, quality: np.ndarray | None = None, offset: float = -1000.0):
    return invalid(_DN, offset, 10_000.0, nodata_dn, saturated_dn, quality)


def test_nodata_and_clamped_pixels_are_told_apart() -> None:
    bad = _masks()
    np.testing.assert_array_equal(bad.nodata, _DN == 0)
    np.testing.assert_array_equal(bad.saturated, _DN >= FULL_SCALE_DN)
    np.testing.assert_array_equal(bad.any, (_DN == 0) | (_DN >= FULL_SCALE_DN))


def test_special_values_come_from_the_metadata() -> None:
    bad = _masks(nodata_dn=1, saturated_dn=0)
    np.testing.assert_array_equal(bad.nodata, _DN == 1)
    np.testing.assert_array_equal(bad.saturated, (_DN == 0) | (_DN >= FULL_SCALE_DN))


def test_a_saturated_value_among_the_measurements_is_not_believed() -> None:
    np.testing.assert_array_equal(_masks(saturated_dn=6).saturated, _masks().saturated)


def test_what_a_patch_cannot_hold_is_saturated() -> None:
    bad = _masks(offset=13_000.0)
    np.testing.assert_array_equal(bad.saturated, _DN >= 20_000)


def test_the_product_s_own_mask_counts_except_on_nodata() -> None:
    everywhere = _masks(quality=np.ones(_DN.shape, bool))
    np.testing.assert_array_equal(everywhere.saturated, _DN != 0)
    np.testing.assert_array_equal(everywhere.nodata, _DN == 0)
