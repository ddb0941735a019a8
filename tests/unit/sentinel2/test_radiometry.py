"""DN, reflectance and stored units: exact wherever integers allow it."""

from __future__ import annotations

import numpy as np
import pytest

from hpc_sr.sentinel2.radiometry import MAX_REFLECTANCE, to_dn, to_reflectance, to_stored

_ALL_DN = np.arange(1, 2**15, dtype=np.uint16)


@pytest.mark.parametrize("offset", [0.0, -1000.0, -2000.0])
@pytest.mark.parametrize("quantification", [10_000.0, 1000.0])
def test_every_dn_comes_back(offset: float, quantification: float) -> None:
    reflectance = to_reflectance(_ALL_DN, offset, quantification)
    assert reflectance.dtype == np.float32
    np.testing.assert_array_equal(to_dn(reflectance, offset, quantification), _ALL_DN)


@pytest.mark.parametrize("offset", [0.0, -1000.0, -2000.0])
def test_stored_units_are_dn_after_the_offset(offset: float) -> None:
    stored = to_stored(to_reflectance(_ALL_DN, offset, 10_000.0))
    assert stored.dtype == np.int16
    np.testing.assert_array_equal(stored.astype(np.int64), _ALL_DN.astype(np.int64) + int(offset))


def test_the_law_is_the_product_specification_s() -> None:
    assert to_reflectance(np.array([1, 1000, 3500], np.uint16), -1000.0, 10_000.0) == pytest.approx(
        [-0.0999, 0.0, 0.25]
    )


def test_dn_are_never_special_values() -> None:
    dn = to_dn(np.array([-5.0, -0.1, 0.0, 9.0]), -1000.0, 10_000.0)
    assert dn.dtype == np.uint16
    np.testing.assert_array_equal(dn, [1, 1, 1000, 65534])


def test_stored_units_have_no_nan_and_do_not_wrap() -> None:
    stored = to_stored(np.array([np.nan, -9.0, 9.0, MAX_REFLECTANCE], np.float32))
    np.testing.assert_array_equal(stored, [0, -(2**15), 2**15 - 1, 2**15 - 1])
