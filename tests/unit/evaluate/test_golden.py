"""Golden values: what bicubic interpolation is known to score on public pixels, through the suite's own metrics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from data_prep.resample import downsample
from hpc_sr.classical.interpolation import bicubic
from hpc_sr.evaluate.metrics.measure import finish, measure
from hpc_sr.sentinel2.degrade import degrade, kernel
from hpc_sr.tasks import S2X, S6X, Task

RGB = ("red", "green", "blue")


def luma(file: Path) -> np.ndarray:
    """Return the Y of an 8-bit picture, (1, H, W), 16..235, rounded as the published tables do."""
    with rasterio.open(file) as dataset:
        image = dataset.read().astype(np.float64)
    return np.round(np.tensordot([65.481, 128.553, 24.966], image / 255, 1) + 16)[None]


# The table of every single-image paper (SRCNN, Dong et al. 2014, and after): Set5, Y, border of `scale` px left out.
@pytest.mark.parametrize(("scale", "published_db"), [(2, 33.64), (3, 30.39), (4, 28.42)])
def test_set5_scores_the_published_psnr(shared_data, scale, published_db):
    scores = []
    for hr in sorted((shared_data / "rgb" / "Set5" / f"image_SRF_{scale}").glob("*_HR.png")):
        truth, small = luma(hr), luma(hr.with_name(hr.name.replace("_HR", "_LR")))
        enlarged = bicubic(torch.from_numpy(small)[None], scale)[0].round().clamp(0, 255)
        inside = slice(scale, -scale)
        sums = measure(torch.from_numpy(truth), enlarged, core=(inside, inside), peak=255.0)
        scores.append(finish(sums, ("Y",), scale, peak=255.0)["total"]["psnr"])
    assert len(scores) == 5
    assert np.mean(scores) == pytest.approx(published_db, abs=0.01)


# SSIM with the constants of reflectance x 10 000, and without constants (UIQ): known for this crop to two decimals.
@pytest.mark.parametrize(
    ("task", "crop_px", "expected"), [(S2X, 300, {"ssim": 0.94, "uiq": 0.87}), (S6X, 96, {"ssim": 0.92, "uiq": 0.33})]
)
def test_the_malmo_scene_has_the_known_structure_scores(shared_data, task: Task, crop_px, expected):
    native = np.load(shared_data / "scenes" / "l1c_malmo_T33UUB.npz")[f"d{task.target.gsd_m}"]
    crop = native[:crop_px, :crop_px].astype(np.float64).transpose(2, 0, 1)
    coarse = degrade(crop, kernel("wald", task.scale, task.target.bands, "S2A"))
    estimate = bicubic(torch.from_numpy(coarse)[None], task.scale)[0]
    total = finish(measure(torch.from_numpy(crop), estimate), task.target.bands, task.scale)["total"]
    assert {name: total[name] for name in expected} == pytest.approx(expected, abs=0.005)


@pytest.fixture(scope="module")
def malmo_rgb(shared_data) -> np.ndarray:
    scene = np.load(shared_data / "scenes" / "l1c_malmo_T33UUB.npz")["d10"]
    return scene[..., [2, 1, 0]].astype(np.float64).transpose(2, 0, 1)


def test_bicubic_x4_has_the_known_gradient_similarity(malmo_rgb):
    """Global 0.874 and map 0.70 are known for this scene; 0.8686 and 0.699 here, the crop being unknown."""
    coarse = downsample(malmo_rgb.astype(np.float32), 4, "bicubic").astype(np.float64)
    total = finish(measure(torch.from_numpy(malmo_rgb), bicubic(torch.from_numpy(coarse)[None], 4)[0]), RGB, 4)["total"]
    assert total["gsm"] == pytest.approx(0.874, rel=0.01)
    assert total["gsm_map"] == pytest.approx(0.70, abs=0.005)
    assert total["psnr"] == pytest.approx(41, abs=0.5)


def test_bicubic_x4_of_stretched_pictures_has_the_known_psnr(malmo_rgb):
    low, high = np.percentile(malmo_rgb, (2, 98), axis=(1, 2), keepdims=True)
    grey = np.round(((malmo_rgb - low) / (high - low)).clip(0, 1) * 255)
    coarse = downsample(grey.astype(np.float32), 4, "bicubic").round().clip(0, 255).astype(np.float64)
    sums = measure(torch.from_numpy(grey), bicubic(torch.from_numpy(coarse)[None], 4)[0], peak=255.0)
    assert finish(sums, RGB, 4, peak=255.0)["total"]["psnr"] == pytest.approx(22.6, abs=0.05)
