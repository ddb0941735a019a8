"""Filters as tensor operations are the law of degradation, the library's Gaussian filter and its interpolation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from hpc_sr.errors import ShapeError
from hpc_sr.models.filters import bicubic, correlated, degraded, each_neighbour_down, gaussian_taps, neighbours_down
from hpc_sr.sentinel2.degrade import degrade, kernel, taps_of_bands
from hpc_sr.tasks import BANDS_10M, BANDS_20M, BANDS_60M


@pytest.mark.parametrize("law", ["wald", "mtf"])
@pytest.mark.parametrize(("scale", "bands"), [(2, BANDS_20M), (2, BANDS_10M), (6, BANDS_60M), (6, BANDS_10M)])
@pytest.mark.parametrize("pixels", [(1, 1), (2, 3), (20, 17)])  # filters longer than the image, and shorter
def test_the_law_is_the_stores_law(law, scale, bands, pixels):
    known, (height, width) = kernel(law, scale, bands, "S2A"), pixels
    images = np.random.default_rng(0).uniform(-500, 9000, (3, len(bands), height * scale, width * scale))
    found = degraded(torch.from_numpy(images), torch.from_numpy(taps_of_bands(known)), scale)
    expected = np.stack([degrade(image, known) for image in images])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12 * 9000)


@pytest.mark.parametrize("sigma_px", [0.8, 2.0])
@pytest.mark.parametrize("size", [(3, 5), (40, 31)])
def test_the_window_is_the_gaussian_filter(sigma_px, size):
    images = np.random.default_rng(1).uniform(-500, 9000, (2, 3, *size))
    found = correlated(torch.from_numpy(images), gaussian_taps(sigma_px, 4.0))
    expected = gaussian_filter(images, (0, 0, sigma_px, sigma_px), mode="reflect", truncate=4.0)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12 * 9000)


@pytest.mark.parametrize("scale", [2, 6])
def test_gradients_are_those_of_finite_differences(scale):
    taps = torch.rand(2, scale + 4, dtype=torch.float64)
    image = torch.rand(1, 2, 2 * scale, 3 * scale, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x: degraded(x, taps, scale), image, fast_mode=True)
    torch.autograd.gradcheck(lambda x: correlated(x, taps[:, 1:]), image, fast_mode=True)
    few = image[..., :3, :3].detach().requires_grad_()
    torch.autograd.gradcheck(lambda x: bicubic(x, scale), few, fast_mode=True)


def test_misfits_are_refused():
    taps = torch.ones(2, 6)
    with pytest.raises(ShapeError, match="6 x 7 px is no multiple of 2"):
        degraded(torch.zeros(1, 2, 6, 7), taps, 2)
    with pytest.raises(ShapeError, match="3 bands meet a law for 2"):
        degraded(torch.zeros(1, 3, 6, 6), taps, 2)


@pytest.mark.parametrize(("count", "step"), [(1, 1), (7, 1), (8, 2), (2, 2), (26, 6), (41, 1)])
def test_neighbours_one_by_one_are_those_at_once(count: int, step: int) -> None:
    x = torch.rand(2, 3, 12, 5)
    at_once = neighbours_down(x, count, step)
    assert torch.equal(torch.stack(each_neighbour_down(x, count, step), 2), at_once)
