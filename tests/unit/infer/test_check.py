"""The finished image against the bands that it was made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from array_images import ArrayImage, network

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.infer.check import consistency_of
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.plan import make_plan
from hpc_sr.infer.predict import Predictor
from hpc_sr.infer.region import Region
from hpc_sr.infer.super_resolve import super_resolve
from hpc_sr.sentinel2.degrade import degrade, kernel, support_px
from hpc_sr.tasks import BANDS_20M, BANDS_60M, S2X, S6X, S26X

MODELS = [network("s2x", S2X, 8), network("s2x", S6X, 12)]
JOINT = [network("s2x", S26X, 12)]


def checked(
    tmp_path: Path, image: ArrayImage, options: InferOptions, models: list[Predictor] = MODELS
) -> tuple[Path, dict[str, tuple[float, float]]]:
    out = tmp_path / "x.tif"
    super_resolve(models, image, out, options, SerialComm())
    return out, consistency_of(make_plan(models, image, options), out)


@pytest.mark.parametrize(("dtype", "models"), [("uint16", MODELS), ("float32", MODELS), ("float32", JOINT)])
def test_it_is_what_degrading_the_whole_file_gives(tmp_path: Path, dtype: str, models: list[Predictor]) -> None:
    """More than one window a side, and holes: neither in the measured band nor in a support do they count."""
    image = ArrayImage(840, 480)
    image.dn["B05"][100:110, 30:60] = 0
    out, found = checked(tmp_path, image, InferOptions(dtype=dtype, format="gtiff"), models)
    with rasterio.open(out) as tif:
        bands = dict(zip(tif.descriptions, tif.read(masked=True), strict=True))
        if dtype == "uint16":
            bands = {name: band * 1e-4 - 0.1 for name, band in bands.items()}
    for names, scale in ((BANDS_20M, 2), (BANDS_60M, 6)):
        for name in names:
            law = kernel("wald", scale, (name,), "S2A")
            beyond = -(-support_px(law) // scale)
            inner = slice(beyond, -beyond or None)
            seen = degrade(bands[name].astype(float).filled(np.nan)[None], law)[0][inner, inner] * 1e4
            measured = (image.dn[name].astype(float) - 1000)[inner, inner]
            valid = np.isfinite(seen) & (image.dn[name][inner, inner] > 0)
            rmse = np.sqrt(((seen - measured)[valid] ** 2).mean())
            assert found[name] == pytest.approx((rmse, measured[valid].mean()), rel=1e-5)


@pytest.mark.parametrize("models", [MODELS, JOINT])
def test_what_was_projected_back_is_consistent(tmp_path: Path, models: list[Predictor]) -> None:
    """A region lies where it lies in the product: shifted by a pixel nothing would agree."""
    region = Region("pixels", (60, 120, 120, 240))
    options = InferOptions(back_project=True, format="gtiff", dtype="float32", region=region)
    _, found = checked(tmp_path, ArrayImage(480, 480), options, models)
    assert set(found) == {*BANDS_20M, *BANDS_60M}
    assert all(rmse < 0.05 for rmse, _ in found.values())


def test_a_band_that_was_not_measured_has_no_number(tmp_path: Path, log_lines: list[str]) -> None:
    image = ArrayImage(48, 48)
    image.dn["B05"][:] = 0
    _, found = checked(tmp_path, image, InferOptions(format="gtiff", check=True))
    (told,) = [line for line in log_lines if "consistency of B05" in line]
    assert "nothing was measured" in told and not any("nan" in line for line in log_lines)
    assert np.isnan(found["B05"]).all() and np.isfinite(found["B06"]).all()
