"""NIQE: fits find known shapes, sums do not depend on the tiling, and the score tells sharp from spoilt."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat
from scipy.ndimage import correlate1d
from scipy.spatial.distance import mahalanobis
from scipy.stats import gennorm, halfgennorm

from hpc_sr.errors import MissingComponentError, NotFiniteError, ShapeError
from hpc_sr.evaluate.metrics import niqe as module
from hpc_sr.evaluate.metrics.block_statistics import describe, fit_asymmetric
from hpc_sr.evaluate.metrics.niqe import (
    BLOCK_PX,
    FEATURES,
    NIQE_CONTEXT_PX,
    NiqeModel,
    NiqeSums,
    fit,
    measure_niqe,
    niqe,
)

WHITE = 4000.0


@pytest.fixture(scope="module")
def bands(shared_data) -> list[torch.Tensor]:
    """The 10 m bands of real scenes, (H, W), DN."""
    names = ("l1c_malmo_T33UUB", "l1c_usa")
    scenes = (np.load(shared_data / "scenes" / f"{name}.npz")["d10"].astype(np.float64) for name in names)
    return [torch.from_numpy(scene[..., band].copy()) for scene in scenes for band in range(4)]


@pytest.fixture(scope="module")
def model(bands) -> NiqeModel:
    return fit(bands, WHITE)


@pytest.mark.parametrize("exponent", [0.7, 1.0, 2.0, 3.5])
def test_a_fit_finds_the_shape_and_scale_that_scipy_drew(exponent):
    drawn = gennorm.rvs(exponent, scale=1.7, size=(2, 400, 500), random_state=np.random.default_rng(1))
    found = fit_asymmetric(drawn)
    np.testing.assert_allclose(found.exponent, exponent, rtol=0.03)
    np.testing.assert_allclose([found.left, found.right], 1.7, rtol=0.03)


@pytest.mark.parametrize("exponent", [0.8, 1.6])
def test_a_fit_finds_each_sides_scale(exponent):
    random = np.random.default_rng(2)
    left, right = 0.5, 2.0
    size = halfgennorm.rvs(exponent, size=400_000, random_state=random)
    below = random.random(400_000) < left / (left + right)
    found = fit_asymmetric(np.where(below, -left * size, right * size).reshape(1, 400, 1000))
    assert (found.exponent[0], found.left[0], found.right[0]) == pytest.approx((exponent, left, right), rel=0.03)


def test_features_are_eighteen_and_know_neighbours_on_their_own_side():
    noise = np.random.default_rng(3).standard_normal((1, 96, 96))
    streaks = noise[:, :, :1] + 0.5 * noise
    assert describe(noise).shape == (1, 18)
    right, *others = describe(streaks)[0, 3::4]
    assert right > 0.5, "along a row neighbours mostly have one sign"
    assert np.abs(others).max() < 0.3


def test_local_normalisation_is_scipys_gaussian_moments(bands):
    grey = bands[0][:60, :70] * (255 / WHITE)
    taps = np.exp(-0.5 * (np.arange(-3, 4) / (7 / 6)) ** 2)
    taps /= taps.sum()

    def smooth(image: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(image, taps, axis=0, mode="nearest"), taps, axis=1, mode="nearest")

    mean = smooth(grey.numpy())
    deviation = np.sqrt(smooth(grey.numpy() ** 2) - mean**2)
    normalised, found = module._normalise(grey)
    np.testing.assert_allclose(found, deviation, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(normalised, (grey.numpy() - mean) / (deviation + 1), rtol=1e-8, atol=1e-8)


@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_tiles_that_start_on_blocks_give_the_sums_of_the_whole_image(bands, data):
    image = bands[0][:330, :430]
    mask = torch.ones(330, 430, dtype=torch.bool)
    mask[data.draw(st.integers(0, 329)), data.draw(st.integers(0, 429))] = False
    whole = measure_niqe(image, WHITE, mask)
    row, column = (data.draw(st.sampled_from([BLOCK_PX, 2 * BLOCK_PX, 3 * BLOCK_PX])) for _ in range(2))
    parts = NiqeSums.zero()
    for top, bottom in ((0, row), (row, 330)):
        for left, right in ((0, column), (column, 430)):
            above, before = max(top - NIQE_CONTEXT_PX, 0), max(left - NIQE_CONTEXT_PX, 0)
            window = slice(above, bottom + NIQE_CONTEXT_PX), slice(before, right + NIQE_CONTEXT_PX)
            core = slice(top - above, bottom - above), slice(left - before, right - before)
            parts += measure_niqe(image[window], WHITE, mask[window], core)
    assert parts.blocks == whole.blocks >= 8
    np.testing.assert_allclose(parts.values, whole.values, rtol=1e-9, atol=1e-9)


def test_mean_and_covariance_are_numpys():
    features = np.random.default_rng(4).normal(3, 2, (50, FEATURES))
    mean, covariance = (NiqeSums.of(features[:20]) + NiqeSums.of(features[20:])).mean_and_covariance()
    np.testing.assert_allclose(mean, features.mean(0), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(features.T), rtol=1e-9, atol=1e-12)


def test_the_score_is_scipys_mahalanobis_distance(bands, model):
    sums = measure_niqe(bands[4] + 20 * torch.randn(bands[4].shape, generator=torch.Generator().manual_seed(1)), WHITE)
    mean, covariance = sums.mean_and_covariance()
    expected = mahalanobis(mean, model.mean, np.linalg.pinv((covariance + model.covariance) / 2))
    assert niqe(sums, model) == pytest.approx(expected, rel=1e-6)


def test_blur_and_noise_are_farther_from_good_than_the_image(bands, model):
    image = bands[0]
    blurred = torch.nn.functional.avg_pool2d(image[None], 5, 1, 2, count_include_pad=False)[0]
    noisy = image + 150 * torch.randn(image.shape, generator=torch.Generator().manual_seed(2))
    good, *spoilt = (niqe(measure_niqe(one, WHITE), model) for one in (image, blurred, noisy))
    assert min(spoilt) > 1.5 * good


def test_a_model_is_of_the_sharp_blocks_only(bands):
    """Each image beside its own blurred mirror: the mirror's blocks must not count."""
    images = [band[:384, :384] for band in bands]
    mirrors = [torch.nn.functional.avg_pool2d(i.flip(1)[None], 9, 1, 4, count_include_pad=False)[0] for i in images]
    wide = fit([torch.cat(pair, dim=1) for pair in zip(images, mirrors, strict=True)], WHITE)
    np.testing.assert_allclose(wide.mean, fit(images, WHITE).mean, atol=0.02)


def test_blocks_without_contrast_or_with_a_masked_pixel_are_left_out(bands):
    image = bands[0][:288, :288].clone()
    assert measure_niqe(image, WHITE).blocks == 9
    image[:120, :120] = 500.0  # the first block and all that its features look at
    assert measure_niqe(image, WHITE).blocks == 8
    assert measure_niqe(torch.full((192, 192), 500.0), WHITE).blocks == 0
    mask = torch.ones(288, 288, dtype=torch.bool)
    image[286, 286], mask[286, 286] = math.nan, False
    assert measure_niqe(image, WHITE, mask).blocks == 7
    with pytest.raises(NotFiniteError):
        measure_niqe(image, WHITE)


def test_fewer_than_two_blocks_have_no_score(bands, model):
    assert niqe(measure_niqe(bands[0][:96, :96], WHITE), model) is None
    assert niqe(measure_niqe(bands[0][:50, :96], WHITE), model) is None


def test_a_model_is_read_back_and_the_authors_layouts_too(model, tmp_path, shared_data):
    model.save(tmp_path / "s2.npz")
    again = NiqeModel.load(tmp_path / "s2.npz")
    assert again.white == WHITE
    np.testing.assert_array_equal(again.mean, model.mean)
    savemat(tmp_path / "natural.mat", {"mu_prisparam": model.mean[None], "cov_prisparam": model.covariance})
    natural = NiqeModel.load(tmp_path / "natural.mat")
    assert natural.white == 255.0
    np.testing.assert_array_equal(natural.covariance, model.covariance)
    published = NiqeModel.load(shared_data / "weights" / "niqe_pris_params.npz", white=3000.0)
    assert published.white == 3000.0 and np.linalg.eigvalsh(published.covariance).min() > 0


def test_what_is_no_model_is_an_error_that_names_the_file(tmp_path):
    np.savez(tmp_path / "small.npz", mean=np.zeros(3), covariance=np.eye(3), white=1.0)
    np.savez(tmp_path / "other.npz", x=1)
    (tmp_path / "text.npz").write_text("no zip")
    (tmp_path / "text.mat").write_text("no matrix of any kind, but long enough to have a header" * 9)
    for name in ("small.npz", "other.npz", "text.npz", "text.mat", "absent.npz", "absent.mat"):
        with pytest.raises(MissingComponentError, match=name):
            NiqeModel.load(tmp_path / name)


def test_too_few_sharp_blocks_cannot_be_fitted_and_shapes_must_fit(bands):
    with pytest.raises(ShapeError, match="too few"):
        fit(bands[:1], WHITE)
    with pytest.raises(ShapeError):
        measure_niqe(torch.zeros(3, 96, 96), WHITE)
    with pytest.raises(ShapeError):
        measure_niqe(torch.zeros(96, 96), WHITE, torch.ones(96, 95))
