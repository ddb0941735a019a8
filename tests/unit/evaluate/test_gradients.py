"""Gradient similarity: as numpy's gradients give it, blind or not to places, defined on flat ground."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from hpc_sr.evaluate.metrics.gradients import GSM_K, gradient_maps
from hpc_sr.evaluate.metrics.measure import finish, measure


@pytest.fixture(scope="module")
def band(shared_data) -> torch.Tensor:
    """A crop of a real band, (1, H, W), DN."""
    scene = np.load(shared_data / "scenes" / "l1c_malmo_T33UUB.npz")["d10"][100:180, 200:290, 3]
    return torch.from_numpy(scene.astype(np.float64))[None]


def gsm(x: torch.Tensor, y: torch.Tensor, **where) -> tuple[float | None, float | None]:
    total = finish(measure(x, y, **where), ("B08",), 2)["total"]
    return total["gsm"], total["gsm_map"]


def test_gradients_of_real_pixels_are_numpys_and_scipys_central_differences(band):
    estimate = 0.6 * band + 0.4 * band.roll(1, 2)
    gradient_x, gradient_y, similarity = (found[0].numpy() for found in gradient_maps(band, estimate))
    inside = (slice(1, -1), slice(1, -1))
    expected = np.hypot(*np.gradient(band[0].numpy()))[inside]
    np.testing.assert_allclose(gradient_x, expected, rtol=1e-9)
    down, across = (correlate1d(estimate[0].numpy(), [-0.5, 0, 0.5], axis=axis) for axis in (0, 1))
    theirs = np.hypot(down, across)[inside]
    np.testing.assert_allclose(gradient_y, theirs, rtol=1e-9, atol=1e-9)
    stabiliser = (GSM_K * 10_000) ** 2
    np.testing.assert_allclose(
        similarity, (2 * expected * theirs + stabiliser) / (expected**2 + theirs**2 + stabiliser), rtol=1e-9
    )
    mean_x, mean_y = expected.mean(), theirs.mean()
    assert gsm(band, estimate) == pytest.approx(
        (2 * mean_x * mean_y / (mean_x**2 + mean_y**2), similarity.mean()), rel=1e-9
    )


def test_a_ramp_has_its_slope_as_gradient_everywhere():
    rows, columns = torch.meshgrid(torch.arange(8.0).double(), torch.arange(9.0).double(), indexing="ij")
    gradient, _, similarity = gradient_maps((3 * rows + 4 * columns)[None], (30 * rows + 40 * columns)[None])
    torch.testing.assert_close(gradient, torch.full((1, 6, 7), 5.0, dtype=torch.float64))
    torch.testing.assert_close(similarity, torch.full_like(gradient, (2 * 5 * 50 + 1) / (25 + 2500 + 1)))


def test_both_are_1_for_equal_images_and_ignore_an_offset(band):
    assert gsm(band, band + 300.0) == pytest.approx((1.0, 1.0), rel=1e-12)


def test_only_the_map_sees_where_gradients_are(band):
    everywhere, in_place = gsm(band, band.flip(1, 2))
    assert everywhere == pytest.approx(1.0, rel=1e-12)
    assert in_place < 0.75


def test_the_global_one_is_the_closed_form_of_a_gain(band):
    everywhere, in_place = gsm(band, 0.5 * band)
    assert everywhere == pytest.approx(2 * 0.5 / (1 + 0.25), rel=1e-12)
    assert in_place == pytest.approx(0.8, abs=0.01)


def test_flat_images_have_no_global_value_and_equal_maps():
    flat = torch.full((1, 12, 12), 700.0)
    assert gsm(flat, flat + 9) == (None, 1.0)
    textured = flat + 100 * torch.rand(1, 12, 12, generator=torch.Generator().manual_seed(2))
    everywhere, in_place = gsm(flat, textured)
    assert everywhere == 0.0
    assert in_place < 0.01


def test_a_masked_pixel_takes_its_neighbours_gradients_with_it(band):
    mask = torch.ones(80, 90, dtype=torch.bool)
    mask[:, 50:] = False
    spoilt = band.clone()
    spoilt[..., 50:] = float("nan")
    assert gsm(spoilt, spoilt * 0.7, mask=mask) == pytest.approx(gsm(band[..., :50], band[..., :50] * 0.7), rel=1e-12)


def test_an_image_below_three_pixels_has_none():
    assert gsm(torch.ones(1, 2, 9), torch.ones(1, 2, 9)) == (None, None)
