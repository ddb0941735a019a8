"""Baselines: the kernels are what they say, and their scores on real scenes are the known ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hpc_sr.bench.baselines import measure as bench
from hpc_sr.classical.interpolation import (
    BICUBIC_REACH_PX,
    BILINEAR_REACH_PX,
    NEAREST_REACH_PX,
    bicubic,
    bilinear,
    nearest,
)
from hpc_sr.evaluate.metrics.measure import finish, measure
from hpc_sr.sentinel2.degrade import degrade, kernel
from hpc_sr.tasks import S2X, S6X, Task


def keys_matrix(length: int, scale: int) -> np.ndarray:
    """Return the interior of Keys' interpolation as a matrix: rows are fine pixels, columns coarse ones."""
    centres = (np.arange(length * scale) + 0.5) / scale - 0.5
    distance = np.abs(centres[:, None] - np.arange(length))
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


@pytest.mark.parametrize("scale", [2, 6])
def test_bicubic_is_keys_kernel_away_from_the_border(scale):
    image = np.random.default_rng(3).uniform(0, 10_000, (2, 3, 12, 15))
    expected = keys_matrix(12, scale) @ image @ keys_matrix(15, scale).T
    inside = (..., slice(2 * scale, -2 * scale), slice(2 * scale, -2 * scale))
    np.testing.assert_allclose(bicubic(torch.from_numpy(image), scale).numpy()[inside], expected[inside], atol=1e-8)


@pytest.mark.parametrize("scale", [2, 6])
def test_bilinear_is_linear_between_centres_and_flat_beyond(scale):
    image = np.random.default_rng(4).uniform(0, 10_000, (1, 1, 1, 9))
    centres = (np.arange(9 * scale) + 0.5) / scale - 0.5
    expected = np.interp(centres, np.arange(9), image[0, 0, 0])
    result = bilinear(torch.from_numpy(image), scale).numpy()
    np.testing.assert_allclose(result[0, 0], np.tile(expected, (scale, 1)), rtol=1e-12)


@pytest.mark.parametrize("scale", [2, 6])
def test_nearest_repeats_each_pixel_and_nothing_else(scale):
    image = np.random.default_rng(6).uniform(0, 10_000, (2, 3, 4, 5))
    image[0, 1, 2, 3] = np.nan
    expected = np.stack([[np.kron(band, np.ones((scale, scale))) for band in bands] for bands in image])
    np.testing.assert_array_equal(nearest(torch.from_numpy(image), scale).numpy(), expected)


@pytest.mark.parametrize(
    ("upsample", "reach_px"), [(nearest, NEAREST_REACH_PX), (bilinear, BILINEAR_REACH_PX), (bicubic, BICUBIC_REACH_PX)]
)
@pytest.mark.parametrize("scale", [2, 6])
def test_a_pixel_reaches_as_far_as_is_said(upsample, reach_px, scale):
    """One coarse pixel changes fine ones in its own place and in `reach_px` coarse pixels around, no less."""
    image = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    image[0, 0, 4, 4] = 1.0
    changed = upsample(image, scale)[0, 0].abs() > 1e-12
    rows = torch.nonzero(changed.any(1)).flatten() // scale
    assert (int(rows.min()), int(rows.max())) == (4 - reach_px, 4 + reach_px)


@pytest.mark.parametrize("upsample", [bicubic, bilinear, nearest])
@pytest.mark.parametrize("scale", [2, 6])
def test_a_constant_stays_and_places_are_kept(upsample, scale):
    constant = torch.full((1, 2, 5, 7), 321.0)
    torch.testing.assert_close(upsample(constant, scale), torch.full((1, 2, 5 * scale, 7 * scale), 321.0))
    image = torch.rand(1, 2, 5, 7, generator=torch.Generator().manual_seed(5)).double()
    torch.testing.assert_close(upsample(image.flip(2, 3), scale), upsample(image, scale).flip(2, 3))


def target_bands(shared_data, scene: str, task: Task) -> np.ndarray:
    """Return the task's target bands at their native GSD, trimmed to whole coarse pixels; (C, H, W), DN."""
    image = np.load(shared_data / "scenes" / f"{scene}.npz")[f"d{task.target.gsd_m}"].astype(np.float64)
    height, width = (size // task.scale * task.scale for size in image.shape[:2])
    return image[:height, :width].transpose(2, 0, 1)


def enlarge(image: np.ndarray, scale: int, upsample=bicubic) -> np.ndarray:
    return upsample(torch.from_numpy(image)[None], scale)[0].numpy()


def shrink(image: np.ndarray, task: Task) -> np.ndarray:
    return degrade(image, kernel("wald", task.scale, task.target.bands, "S2A"))


def total(reference: np.ndarray, estimate: np.ndarray, task: Task) -> dict[str, float]:
    sums = measure(torch.from_numpy(reference), torch.from_numpy(estimate))
    return finish(sums, task.target.bands, task.scale)["total"]


# Published check values of bicubic interpolation under the `wald` degradation, 1 %.
@pytest.mark.parametrize(
    ("task", "crop_px", "synthesis", "bilinear_synthesis", "consistency"),
    [
        (S2X, 300, {"rmse": 158.63, "sre": 23.9}, 187.8, {"rmse": 46.52, "sre": 34.8, "sam": 0.455}),
        (S6X, 96, {"rmse": 107.00}, 111.7, {"rmse": 12.17, "sre": 39.7}),
    ],
)
def test_check_values_on_the_malmo_scene(shared_data, task, crop_px, synthesis, bilinear_synthesis, consistency):
    native = np.load(shared_data / "scenes" / "l1c_malmo_T33UUB.npz")[f"d{task.target.gsd_m}"]
    native = native.astype(np.float64).transpose(2, 0, 1)
    crop = native[:, :crop_px, :crop_px]
    made = total(crop, enlarge(shrink(crop, task), task.scale), task)
    assert {name: made[name] for name in synthesis} == pytest.approx(synthesis, rel=0.01)
    by_bilinear = total(crop, enlarge(shrink(crop, task), task.scale, bilinear), task)
    assert by_bilinear["rmse"] == pytest.approx(bilinear_synthesis, rel=0.01)
    kept = total(native, shrink(enlarge(native, task.scale), task), task)
    assert {name: kept[name] for name in consistency} == pytest.approx(consistency, rel=0.01)


@pytest.mark.parametrize(
    ("scene", "rmse_band_mean"),
    [("l1c_malmo_T33UUB", 146.4), ("l1c_iceland", 109.9), ("l1c_usa", 115.4), ("l1c_australia", 56.9)],
)
def test_yardsticks_of_the_real_scenes(shared_data, scene, rmse_band_mean):
    native = target_bands(shared_data, scene, S2X)
    result = total(native, enlarge(shrink(native, S2X), 2), S2X)
    assert result["rmse_band_mean"] == pytest.approx(rmse_band_mean, rel=0.01)


@pytest.mark.parametrize("task", [S2X, S6X])
def test_the_bench_ranks_the_methods_on_a_real_scene(shared_data, task):
    native = np.load(shared_data / "scenes" / "l1c_malmo_T33UUB.npz")
    side_px = {"d10": 144, "d20": 72, "d60": 24}
    crop = {name: native[name][:px, :px].transpose(2, 0, 1).astype(np.float32) for name, px in side_px.items()}
    found = bench(crop, task, "wald", rounds=1)
    ratios = found["ratio_to_bicubic"]
    assert list(ratios) == list(found["seconds"])
    assert max(ratios["guided"], ratios["supreme"]) < ratios["atprk"] < ratios["bicubic"] == 1
    assert 1 < ratios["bilinear"] < ratios["nearest"]
