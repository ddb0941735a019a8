"""ATPRK: kriging weights against brute force, what must come back exactly, and its ratios on real scenes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from wald_scenes import SCENES, ratio_to_bicubic, smooth_noise, wald_pair, worst_of_windows

from hpc_sr.classical.atprk import fit_atprk, kriging_weights, point_range_px, sharpen
from hpc_sr.errors import ShapeError
from hpc_sr.tasks import S2X, S6X, Task


def spread(image_CHW: np.ndarray, scale: int) -> np.ndarray:
    """Return the bands through the point spread of the method, by scipy: Gaussian of scale / 2 on 3 x 3 pixels.

    An even kernel has its centre between two samples: scipy's lies half a pixel after it, so that the output at
    fine pixel `scale / 2` of a coarse pixel belongs to that pixel's middle.
    """
    size = 3 * scale
    taps = np.exp(-0.5 * ((np.arange(size) - (size - 1) / 2) / (scale / 2)) ** 2)
    for axis in (1, 2):
        image_CHW = correlate1d(image_CHW, taps / taps.sum(), axis=axis, mode="reflect")
    return image_CHW[:, scale // 2 :: scale, scale // 2 :: scale]


# The published mean of ATPRK's ratios, under `wald` on other scenes, is 0.92 at x2 and 0.90 at x6.
@pytest.mark.parametrize(
    ("task", "degradation", "measured"),
    [
        (S2X, "wald", (0.937, 0.868, 0.883, 0.979)),
        (S6X, "wald", (0.805, 0.650, 0.805, 0.810)),
        (S2X, "mtf", (0.544, 0.495, 0.510, 0.570)),
        (S6X, "mtf", (0.185, 0.265, 0.203, 0.146)),
    ],
)
def test_ratios_of_the_real_scenes(shared_data, task: Task, degradation: str, measured):
    for scene, ratio in zip(SCENES, measured, strict=True):
        pair = wald_pair(shared_data, scene, task, degradation)
        fitted = fit_atprk(pair[task.target.coarse.name], pair["x10"], task.scale)
        estimate = sharpen(fitted, pair[task.target.coarse.name], pair["x10"])
        assert ratio_to_bicubic(estimate, pair, task) == pytest.approx(ratio, rel=0.01), scene


@pytest.mark.parametrize(("task", "left"), [(S2X, 0.03), (S6X, 0.06)])
def test_seen_through_its_own_spread_the_result_is_what_was_measured(shared_data, task: Task, left):
    """Kriging honours its data; neighbouring fine pixels use other neighbourhoods, which leaves a few percent."""
    pair = wald_pair(shared_data, "l1c_malmo_T33UUB", task)
    coarse = pair[task.target.coarse.name]
    result = sharpen(fit_atprk(coarse, pair["x10"], task.scale), coarse, pair["x10"])
    missed = spread(result.numpy(), task.scale) - coarse.numpy()
    assert (np.sqrt((missed**2).mean((1, 2))) < left * coarse.numpy().std((1, 2))).all()


@pytest.mark.parametrize("scale", [2, 6])
def test_what_is_linear_in_the_guides_comes_back_exactly(scale):
    guides = smooth_noise(4, 120, 96, 1)
    mixing = torch.tensor([[0.5, -0.2, 0.9, 0.1], [0.1, 1.2, 0.0, -0.4]]).double()
    truth = torch.einsum("ck,khw->chw", mixing, guides) + torch.tensor([300.0, 900.0])[:, None, None]
    coarse = torch.from_numpy(spread(truth.numpy(), scale))
    fitted = fit_atprk(coarse, guides, scale)
    torch.testing.assert_close(fitted.regression[:, :4], mixing, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(sharpen(fitted, coarse, guides), truth, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("range_px", [1.5, 20.0])
def test_kriging_weights_are_those_of_brute_force(range_px):
    """Every pair of points of every pair of areas, in loops, at scale 2; the tenth unknown is Lagrange's."""
    scale, size = 2, 6
    taps = np.exp(-0.5 * (np.arange(-2.5, 3.0) / 1.0) ** 2)
    mass = np.outer(taps, taps).ravel() / taps.sum() ** 2
    offsets = np.array([(r, c) for r in np.arange(size) - 2.5 for c in np.arange(size) - 2.5])
    centres = np.array([(r, c) for r in (-2.0, 0.0, 2.0) for c in (-2.0, 0.0, 2.0)])

    def gamma(a, b):
        return 1 - np.exp(-np.linalg.norm(a - b) / range_px)

    system, wanted = np.ones((10, 10)), np.ones((10, 4))
    system[9, 9] = 0
    for i in range(9):
        for j in range(9):
            system[i, j] = sum(
                p * q * gamma(centres[i] + u, centres[j] + v)
                for u, p in zip(offsets, mass, strict=True)
                for v, q in zip(offsets, mass, strict=True)
            )
        for k, x in enumerate([(-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)]):
            wanted[i, k] = sum(p * gamma(centres[i] + u, np.array(x)) for u, p in zip(offsets, mass, strict=True))
    expected = np.linalg.solve(system, wanted)[:9].T.reshape(4, 3, 3)
    np.testing.assert_allclose(kriging_weights(range_px, scale), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("scale", [2, 3, 6])
def test_kriging_weights_sum_to_one_and_turn_with_the_pixel(scale):
    weights = kriging_weights(7.0, scale)
    np.testing.assert_allclose(weights.sum((1, 2)), 1.0, atol=1e-10)
    grid = weights.reshape(scale, scale, 3, 3)
    np.testing.assert_allclose(grid, grid[::-1, :, ::-1, :], atol=1e-10)
    np.testing.assert_allclose(grid, grid.transpose(1, 0, 3, 2), atol=1e-10)


@pytest.mark.parametrize("range_px", [6.0, 16.0])
def test_the_range_of_points_is_found_behind_areas(range_px):
    """A random field of known exponential semivariogram, seen through the spread: its range within a third."""
    size, scale, rng = 768, 2, np.random.default_rng(8)
    along = np.minimum(np.arange(size), size - np.arange(size))
    power = np.fft.fft2(np.exp(-np.hypot(along[:, None], along) / range_px)).real.clip(min=0)
    field = np.fft.ifft2(np.sqrt(power) * np.fft.fft2(rng.normal(size=(size, size)))).real
    found = point_range_px(100 * spread(field[None], scale)[0], scale)
    assert found == pytest.approx(range_px, rel=0.33)


@pytest.mark.parametrize("scale", [2, 6])
def test_windows_with_their_reach_equal_the_whole(scale):
    guides, coarse = smooth_noise(4, 60 * scale, 48 * scale, 7), smooth_noise(2, 60, 48, 8)
    fitted = fit_atprk(coarse, guides, scale)
    arguments = (lambda c, g: sharpen(fitted, c, g), coarse, guides, scale)
    assert worst_of_windows(*arguments, fitted.reach_px) < 1e-9
    assert worst_of_windows(*arguments, fitted.reach_px - scale) > 1e-3


def test_images_that_say_nothing_give_numbers():
    """Constant bands and guides, guides that are equal, and an image of one coarse pixel."""
    flat, guides = torch.full((1, 12, 12), 500.0), torch.full((4, 24, 24), 700.0)
    torch.testing.assert_close(sharpen(fit_atprk(flat, guides, 2), flat, guides), torch.full((1, 24, 24), 500.0))
    twin = smooth_noise(1, 24, 24, 3).expand(4, -1, -1)
    assert sharpen(fit_atprk(flat, twin, 2), flat, twin).isfinite().all()
    with np.errstate(all="raise"):
        pixel = fit_atprk(flat[:, :1, :1], guides[:, :2, :2], 2)
    assert sharpen(pixel, flat[:, :1, :1], guides[:, :2, :2]).isfinite().all()


def test_the_type_is_kept_and_misfits_are_refused():
    coarse, guides = smooth_noise(2, 24, 24, 9), smooth_noise(4, 48, 48, 10)
    assert sharpen(fit_atprk(coarse, guides, 2), coarse.float(), guides.float()).dtype == torch.float32
    for function in (lambda *x: fit_atprk(*x, 2), lambda *x: sharpen(fit_atprk(coarse, guides, 2), *x)):
        with pytest.raises(ShapeError, match="do not nest"):
            function(coarse[:, :-1], guides)
