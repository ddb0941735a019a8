"""Metrics: as in independent libraries, additive over windows, batches and ranks, with the laws they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_pairs import random_pair, scores
from scipy.stats import pearsonr
from skimage.metrics import structural_similarity
from torchmetrics.functional import mean_squared_error
from torchmetrics.functional.audio import signal_noise_ratio
from torchmetrics.functional.image import (
    error_relative_global_dimensionless_synthesis,
    peak_signal_noise_ratio,
    spectral_angle_mapper,
)

from hpc_sr.evaluate.metrics.measure import CONTEXT_PX, ImageSums, finish, measure

BANDS = ("B05", "B06", "B07", "B8A", "B11", "B12")


@pytest.fixture(scope="module")
def real_pair(shared_data) -> tuple[torch.Tensor, torch.Tensor]:
    """A crop of a real scene and the same with its neighbour columns mixed in and a bias."""
    scene = np.load(shared_data / "scenes" / "l1c_malmo_T33UUB.npz")["d20"].astype(np.float64).transpose(2, 0, 1)
    crop = torch.from_numpy(scene[:, 40:140, 100:180].copy())
    return crop, 0.5 * crop + 0.3 * crop.roll(1, 2) + 0.2 * crop.roll(-1, 1) + 12.0


def assert_equals_libraries(x: torch.Tensor, y: torch.Tensor) -> None:
    result = finish(measure(x, y), BANDS, 2)
    total, per_band = result["total"], list(result["bands"].values())
    batch_x, batch_y = x[None], y[None]
    close = {"rel": 1e-9}
    assert result["pixels"] == x[0].numel()
    assert total["rmse"] == pytest.approx(mean_squared_error(y, x, squared=False).item(), **close)
    # The library's PSNR leaves float64 on its way.
    assert total["psnr"] == pytest.approx(peak_signal_noise_ratio(y, x, data_range=10_000.0).item(), rel=1e-7)
    assert total["psnr"] == pytest.approx(20 * math.log10(10_000 / total["rmse"]), **close)
    ergas = error_relative_global_dimensionless_synthesis(batch_y, batch_x, ratio=2)
    assert total["ergas"] == pytest.approx(ergas.item(), **close)
    assert total["ergas_ratio_free"] == pytest.approx(2 * ergas.item(), **close)
    assert total["sam"] == pytest.approx(math.degrees(spectral_angle_mapper(batch_y, batch_x).item()), **close)
    for band, (a, b) in zip(per_band, zip(x.numpy(), y.numpy(), strict=True), strict=True):
        mse = np.mean((b - a) ** 2)
        assert band["rmse"] == pytest.approx(np.sqrt(mse), **close)
        assert band["sre"] == pytest.approx(10 * np.log10(np.mean(a) ** 2 / mse), **close)
        # An SNR without subtracting the mean. The library's leaves float64.
        assert band["sre_power"] == pytest.approx(10 * np.log10(np.mean(a**2) / mse), **close)
        snr = signal_noise_ratio(torch.from_numpy(b).ravel(), torch.from_numpy(a).ravel())
        assert band["sre_power"] == pytest.approx(snr.item(), rel=1e-6)
        assert band["psnr"] == pytest.approx(10 * np.log10(1e8 / mse), **close)
        assert band["psnr_image_max"] == pytest.approx(10 * np.log10(x.max().item() ** 2 / mse), **close)
        assert band["bpsnr"] == pytest.approx(10 * np.log10(1e8 / np.var(b - a)), **close)
        assert band["bias"] == pytest.approx(np.mean(b) - np.mean(a), abs=1e-9)
        gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 10_000.0}
        assert band["ssim"] == pytest.approx(structural_similarity(a, b, **gaussian), **close)
        # Uniform 7 x 7 windows as in the thesis' library; torchmetrics' UQI takes 11 x 11 Gaussian ones instead.
        plain = {"win_size": 7, "K1": 0.0, "K2": 0.0, "use_sample_covariance": False, "data_range": 1.0}
        assert band["uiq"] == pytest.approx(structural_similarity(a, b, **plain), rel=1e-6)
        assert band["correlation"] == pytest.approx(pearsonr(a.ravel(), b.ravel()).statistic, **close)
        luminance = 2 * a.mean() * b.mean() / (a.mean() ** 2 + b.mean() ** 2)
        shared = 2 * np.cov(a.ravel(), b.ravel(), ddof=0)[0, 1] / (np.var(a) + np.var(b))
        assert band["q_index"] == pytest.approx(luminance * shared, **close)
    library_peak = peak_signal_noise_ratio(y, x, data_range=x.max().item()).item()
    assert total["psnr_image_max"] == pytest.approx(library_peak, rel=1e-7)
    for name in ("sre", "sre_power", "ssim", "uiq", "correlation", "q_index", "gsm", "gsm_map"):
        assert total[name] == pytest.approx(np.mean([band[name] for band in per_band]), **close)
    assert total["rmse_band_mean"] == pytest.approx(np.mean([band["rmse"] for band in per_band]), **close)
    pooled = np.mean([np.var(b - a) for a, b in zip(x.numpy(), y.numpy(), strict=True)])
    assert total["bpsnr"] == pytest.approx(10 * np.log10(1e8 / pooled), **close)


def test_random_pixels_score_as_in_independent_libraries():
    assert_equals_libraries(*random_pair())


def test_real_pixels_score_as_in_independent_libraries(real_pair):
    assert_equals_libraries(*real_pair)


def sums_by_tiles(x: torch.Tensor, y: torch.Tensor, rows: list[int], columns: list[int], mask=None) -> list[ImageSums]:
    """Return the sums of each tile between the cuts, measured on the tile with its context."""
    height, width = x.shape[-2:]
    parts = []
    for top, bottom in zip([0, *rows], [*rows, height], strict=True):
        for left, right in zip([0, *columns], [*columns, width], strict=True):
            above, before = max(top - CONTEXT_PX, 0), max(left - CONTEXT_PX, 0)
            window = (..., slice(above, bottom + CONTEXT_PX), slice(before, right + CONTEXT_PX))
            core = slice(top - above, bottom - above), slice(left - before, right - before)
            parts.append(measure(x[window], y[window], None if mask is None else mask[window], core))
    return parts


@settings(max_examples=30, deadline=None)
@given(data=st.data(), height=st.integers(1, 40), width=st.integers(12, 40), masked=st.booleans())
def test_any_tiling_gives_the_sums_of_the_whole_image(data, height, width, masked):
    cuts = [sorted(data.draw(st.lists(st.integers(0, size), max_size=3))) for size in (height, width)]
    x, y = random_pair((2, height, width), seed=height * 100 + width)
    mask = torch.rand(height, width, generator=torch.Generator().manual_seed(7)) > 0.02 if masked else None
    whole = measure(x, y, mask).vector()
    parts = sums_by_tiles(x, y, *cuts, mask=mask)
    np.testing.assert_allclose(sum(parts, ImageSums.zero(2)).vector(), whole, rtol=1e-9, atol=1e-9)


def test_three_ranks_that_add_their_vectors_equal_one_process(real_pair):
    x, y = real_pair
    tiles = sums_by_tiles(x, y, [13, 50], [11, 47])
    ranks = [sum(tiles[rank::3], ImageSums.zero(6)) for rank in range(3)]
    added = np.sum([rank.vector() for rank in ranks], axis=0)
    merged = finish(ImageSums.from_vector(added, 6, max(rank.brightest for rank in ranks)), BANDS, 2)
    alone = finish(measure(x, y), BANDS, 2)
    assert merged["pixels"] == alone["pixels"]
    assert merged["total"] == pytest.approx(alone["total"], rel=1e-9)
    for band in BANDS:
        assert merged["bands"][band] == pytest.approx(alone["bands"][band], rel=1e-9)


def test_a_batch_is_the_sum_of_its_images():
    x, y = random_pair((3, 2, 20, 24))
    apart = sum((measure(a, b) for a, b in zip(x, y, strict=True)), ImageSums.zero(2))
    np.testing.assert_allclose(measure(x, y).vector(), apart.vector(), rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int16])
def test_other_number_types_are_measured_in_float64(dtype):
    x, y = (image.round().clamp(-32768, 32767) for image in random_pair())
    np.testing.assert_array_equal(measure(x.to(dtype), y.to(dtype)).vector(), measure(x, y).vector())


def test_nearly_equal_bright_images_keep_their_digits():
    x = torch.full((1, 64, 64), 9000.0, dtype=torch.float64)
    error = 1e-4 * torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(1)).double()
    assert scores(x, x + error)["total"]["rmse"] == pytest.approx(error.square().mean().sqrt().item(), rel=1e-7)


def test_what_a_mask_excludes_might_as_well_not_be_there():
    x, y = random_pair((2, 30, 41))
    mask = torch.ones(30, 41, dtype=torch.bool)
    mask[:, 25:] = False
    spoilt_x, spoilt_y = x.clone(), y.clone()
    spoilt_x[..., 25:], spoilt_y[..., 25:] = math.nan, math.inf
    np.testing.assert_allclose(
        measure(spoilt_x, spoilt_y, mask).vector(), measure(x[..., :25], y[..., :25]).vector(), rtol=1e-12
    )


def test_a_batch_may_have_a_mask_for_each_image():
    x, y = random_pair((2, 3, 16, 16))
    mask = torch.ones(2, 16, 16, dtype=torch.bool)
    mask[1] = False
    np.testing.assert_allclose(measure(x, y, mask).vector(), measure(x[:1], y[:1]).vector(), rtol=1e-12)


def test_bpsnr_is_never_below_psnr_and_ignores_an_added_constant():
    x, y = random_pair()
    before, after = scores(x, y), scores(x, y + 250.0)
    for result in (before, after):
        for score in (result["total"], *result["bands"].values()):
            assert score["bpsnr"] >= score["psnr"]
    assert after["total"]["bpsnr"] == pytest.approx(before["total"]["bpsnr"], rel=1e-9)
    assert after["total"]["psnr"] < before["total"]["psnr"] - 5
    assert after["bands"]["B0"]["bias"] == pytest.approx(before["bands"]["B0"]["bias"] + 250.0)


def test_sam_ignores_gain_and_is_exact_for_equal_and_opposite_vectors():
    x, y = random_pair()
    assert scores(x, 1.7 * y)["total"]["sam"] == pytest.approx(scores(x, y)["total"]["sam"], rel=1e-9)
    assert scores(x, x)["total"]["sam"] == 0.0
    assert scores(x, 3.0 * x)["total"]["sam"] < 1e-12
    assert scores(x, -x)["total"]["sam"] == pytest.approx(180.0)


def test_sam_leaves_zero_vectors_out():
    x, y = random_pair((3, 4, 5))
    x[:, 0, 0], y[:, 1, 1] = 0.0, 0.0
    kept = torch.ones(4, 5, dtype=torch.bool)
    kept[0, 0] = kept[1, 1] = False
    expected = math.degrees(torch.acos(torch.cosine_similarity(x[:, kept], y[:, kept], dim=0)).mean().item())
    assert scores(x, y)["total"]["sam"] == pytest.approx(expected, rel=1e-9)
    assert scores(0 * x, y)["total"]["sam"] is None


def test_ergas_is_linear_in_the_error_and_scales_with_the_ratio():
    x, y = random_pair()
    once, thrice = (scores(x, x + factor * (y - x))["total"]["ergas"] for factor in (1, 3))
    assert thrice == pytest.approx(3 * once, rel=1e-9)
    assert scores(x, y, scale=6)["total"]["ergas"] == pytest.approx(once / 3, rel=1e-9)


def test_correlation_ignores_gain_and_offset_and_knows_a_negative():
    x, y = random_pair()
    before = scores(x, y)["bands"]["B0"]["correlation"]
    assert scores(x, 0.3 * y + 700)["bands"]["B0"]["correlation"] == pytest.approx(before, rel=1e-9)
    assert scores(x, -x)["total"]["correlation"] == pytest.approx(-1.0)


def test_the_peak_of_the_image_is_that_of_its_brightest_valid_pixel_over_all_windows():
    x, y = random_pair((2, 40, 52))
    x[1, 3, 4], x[0, 30, 50] = 9e4, 8e4
    mask = torch.ones(40, 52, dtype=torch.bool)
    mask[3, 4] = False
    assert sum(sums_by_tiles(x, y, [11, 20], [13], mask), ImageSums.zero(2)).brightest == 8e4
    assert measure(x, y, torch.zeros(40, 52)).brightest == -math.inf
    told = measure(x, y, mask)
    without = finish(ImageSums.from_vector(told.vector(), 2), ("a", "b"), 2)
    assert "psnr_image_max" not in without["total"]
    shift = 20 * math.log10(8e4 / 1e4)
    total = finish(told, ("a", "b"), 2)["total"]
    assert total["psnr_image_max"] == pytest.approx(total["psnr"] + shift, rel=1e-12)
    assert without["total"] == {name: value for name, value in total.items() if name != "psnr_image_max"}


def test_another_peak_is_another_unit_of_the_same_image():
    x, y = random_pair()
    factor = 255 / 10_000
    ours = scores(x, y)
    grey = finish(measure(factor * x, factor * y, peak=255.0), tuple(ours["bands"]), 2, peak=255.0)
    unitless = ("sre", "sre_power", "sam", "ergas", "psnr", "bpsnr", "ssim", "uiq", "correlation", "gsm", "gsm_map")
    for name in unitless:
        assert grey["total"][name] == pytest.approx(ours["total"][name], rel=1e-9), name
    assert grey["total"]["rmse"] == pytest.approx(factor * ours["total"]["rmse"], rel=1e-9)
