"""One network of all coarse bands: what is asked of two networks is asked of it, and it goes with neither of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from array_images import ArrayImage, network, repeating

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.errors import RecipeError
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.plan import make_plan
from hpc_sr.infer.predict import Predictor
from hpc_sr.infer.super_resolve import super_resolve
from hpc_sr.tasks import BANDS_20M, BANDS_60M, S2X, S6X, S26X


def made(out: Path, model: Predictor, image: ArrayImage, **options: object) -> dict[str, np.ndarray]:
    chosen = InferOptions(**{"dtype": "float32", "format": "gtiff", **options})
    super_resolve([model], image, out, chosen, SerialComm())
    with rasterio.open(out) as tif:
        return dict(zip(tif.descriptions, tif.read(), strict=True))


@pytest.mark.parametrize("back_project", [False, True])
def test_a_grid_that_was_not_measured_leaves_the_other_as_it_is(tmp_path: Path, back_project: bool) -> None:
    image = ArrayImage(60, 72)
    for name in BANDS_60M:
        image.dn[name][:] = 0
    bands = made(tmp_path / "x.tif", repeating(S26X), image, back_project=back_project)
    assert all(np.isnan(bands[name]).all() for name in BANDS_60M)
    assert all(np.isfinite(bands[name]).all() for name in BANDS_20M)
    for name in BANDS_20M:
        image.dn[name][:] = 0
    bands = made(tmp_path / "y.tif", repeating(S26X), image, back_project=back_project)
    assert all(np.isnan(bands[name]).all() for name in (*BANDS_20M, *BANDS_60M))


def test_a_missing_pixel_blanks_its_own_band_on_its_own_grid(tmp_path: Path) -> None:
    image = ArrayImage(96, 96, 3)
    image.dn["B05"][20, 21], image.dn["B01"][4, 5] = 0, 0
    for window_px in (24, None):
        bands = made(tmp_path / f"{window_px}.tif", network("s2x", S26X, 12), image, window_px=window_px)
        for name, values in bands.items():
            expected = np.zeros((96, 96), bool)
            if name == "B05":
                expected[40:42, 42:44] = True
            if name == "B01":
                expected[24:30, 30:36] = True
            assert np.array_equal(np.isnan(values), expected), name


def test_the_ensemble_tells_the_spread_of_all_its_bands(tmp_path: Path) -> None:
    image = ArrayImage(48, 48)
    bands = made(tmp_path / "x.tif", network("s2x", S26X, 12), image, ensemble=True, spread=True)
    coarse = [name for name in bands if name in (*BANDS_20M, *BANDS_60M)]
    assert [name for name in bands if name.endswith("_spread")] == [f"{name}_spread" for name in coarse]
    assert len(coarse) == 8 and min(bands[f"{name}_spread"].mean() for name in coarse) > 1e-4


@pytest.mark.parametrize("other", [S2X, S6X], ids=lambda task: task.name)
def test_a_band_is_sharpened_by_one_network(other) -> None:
    models = [repeating(other), repeating(S26X)]
    with pytest.raises(RecipeError, match=f"sharpens {other.target.bands[0]}, as repeating for s26x does"):
        make_plan(models, ArrayImage(24, 24), InferOptions())
