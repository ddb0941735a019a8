"""Back-projection: the result, degraded, is the measured band, wherever the windows lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from array_images import ArrayImage, network
from made_networks import narrow, trained

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.infer.backproject import BackProjection
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.predict import Predictor
from hpc_sr.infer.super_resolve import super_resolve
from hpc_sr.infer.windows import Area
from hpc_sr.sentinel2.degrade import degrade, kernel
from hpc_sr.tasks import BANDS_20M, BANDS_60M, S2X, S6X, S26X, Task

#: Of values around 10 000: the rounding of float32.
TOLERANCE = 1e-3


@pytest.mark.parametrize("law", ["wald", "mtf"])
@pytest.mark.parametrize(("scale", "bands"), [(2, BANDS_20M), (6, BANDS_60M)])
def test_degrading_the_corrected_gives_the_measured(law: str, scale: int, bands: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    projection, height, width = BackProjection.of(kernel(law, scale, bands, "S2A")), 40, 50
    estimate = rng.uniform(-500, 9000, (len(bands), height * scale, width * scale)).astype(np.float32)
    measured = rng.uniform(-500, 9000, (len(bands), height, width))
    whole = projection.correct(estimate, measured, Area(0, 0, height, width), height, width)
    assert np.abs(degrade(whole.astype(np.float64), projection.law) - measured).max() < TOLERANCE
    for core in (Area(0, 0, 5, 7), Area(11, 7, 9, 13), Area(38, 30, 2, 20), Area(20, 20, 1, 1)):
        around = projection.around(core, height, width)
        inside = (slice(None), *around.times(scale).slices), (slice(None), *around.slices)
        part = projection.correct(estimate[inside[0]], measured[inside[1]], core, height, width)
        np.testing.assert_allclose(part, whole[(slice(None), *core.times(scale).slices)], rtol=0, atol=TOLERANCE)


def test_what_is_consistent_is_left_alone() -> None:
    law = kernel("wald", 2, BANDS_20M, "S2A")
    fine = np.random.default_rng(1).uniform(0, 5000, (6, 40, 40)).astype(np.float32)
    corrected = BackProjection.of(law).correct(fine, degrade(fine.astype(float), law), Area(0, 0, 20, 20), 20, 20)
    np.testing.assert_allclose(corrected, fine, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("tasks", [((S2X, 8), (S6X, 12)), ((S26X, 12),)], ids=["two networks", "one network"])
@pytest.mark.parametrize("core_px", [24, 10_000])
def test_a_whole_image_is_consistent(tmp_path: Path, core_px: int, tasks: tuple[tuple[Task, int], ...]) -> None:
    models, image = [network("s2x", task, patch_px) for task, patch_px in tasks], ArrayImage(96, 132)
    options = InferOptions(dtype="float32", format="gtiff", back_project=True, window_px=core_px)
    super_resolve(models, image, tmp_path / "x.tif", options, SerialComm())
    with rasterio.open(tmp_path / "x.tif") as tif:
        bands = dict(zip(tif.descriptions, tif.read(), strict=True))
    for names, scale in ((BANDS_20M, 2), (BANDS_60M, 6)):
        found = degrade(np.stack([bands[n] for n in names]).astype(float), kernel("wald", scale, names, "S2A"))
        measured = np.stack([image.dn[n] * 1e-4 - 0.1 for n in names])
        # Windows' predictions differ by float32 rounding, and so do their residuals.
        np.testing.assert_allclose(found, measured, rtol=0, atol=2e-5 if core_px == 24 else 1e-6)


def test_bfloat16_leaves_no_seams(tmp_path: Path) -> None:
    image = ArrayImage(96, 132)
    model = Predictor.of(trained(S26X, 24, narrow(width=32)), torch.device("cpu"), "bf16")
    options = InferOptions(dtype="float32", format="gtiff", bands="sharpened", back_project=True, window_px=24)
    super_resolve([model], image, tmp_path / "x.tif", options, SerialComm())
    with rasterio.open(tmp_path / "x.tif") as tif:
        bands = dict(zip(tif.descriptions, tif.read(), strict=True))
    for names, scale in ((BANDS_20M, 2), (BANDS_60M, 6)):
        found = degrade(np.stack([bands[n] for n in names]).astype(float), kernel("wald", scale, names, "S2A"))
        measured = np.stack([image.dn[n] * 1e-4 - 0.1 for n in names])
        np.testing.assert_allclose(found, measured, rtol=0, atol=1e-5)  # a tenth of a unit
