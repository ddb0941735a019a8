"""Methods without training in hpc-sr infer: the values of evaluations, no tiling or region shows, nodata stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from array_images import ArrayImage, both_repeating

from hpc_sr.classical.methods import BASELINES
from hpc_sr.errors import RecipeError, UnknownBandError
from hpc_sr.evaluate.methods import Field, baseline_method
from hpc_sr.infer import method as methods
from hpc_sr.infer.in_memory import sharpen_in_memory
from hpc_sr.infer.method import methods_for
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.region import Region
from hpc_sr.infer.windows import Area
from hpc_sr.sentinel2.bands import BANDS
from hpc_sr.sentinel2.degrade import degrade, kernel
from hpc_sr.tasks import BANDS_20M, BANDS_60M, REFLECTANCE_ONE, S2X, S6X, Layer, Task

FLOAT = InferOptions(dtype="float32")
LOCAL = tuple(name for name in BASELINES if name != "supreme")


class Ground(ArrayImage):
    """Smooth ground that all bands see: methods have something to find. A DN of 0 is none."""

    def __init__(self, height: int, width: int):
        super().__init__(height, width)
        rng = np.random.default_rng(4)
        fine = sum(
            np.kron(rng.normal(size=(-(-height // n), -(-width // n))), np.ones((n, n)))[:height, :width]
            for n in (3, 11)
        )
        for number, name in enumerate(self.bands):
            stride = BANDS[name].gsd_m // 10
            rows, columns = self.dn[name].shape
            seen = fine[: rows * stride, : columns * stride].reshape(rows, stride, columns, stride).mean((1, 3))
            noise = rng.normal(size=seen.shape)
            self.dn[name] = (4000 + (200 + 40 * number) * seen + 30 * noise).clip(1, 60_000).astype(np.uint16)


def made(
    image: ArrayImage, name: str, options: InferOptions = FLOAT, degradation: str = "mtf"
) -> dict[str, np.ndarray]:
    plan, values = sharpen_in_memory(methods_for(image, name, degradation), image, options)
    return dict(zip((band.name for band in plan.bands), values, strict=True))


@pytest.mark.parametrize("task", [S2X, S6X], ids=lambda task: task.name)
@pytest.mark.parametrize("name", BASELINES)
def test_the_values_are_those_of_evaluations(name: str, task: Task) -> None:
    image = Ground(120, 144)

    def read(layer: Layer, area: Area) -> np.ndarray:
        return np.stack([image.radiometry(n).stored(image.dn[n])[area.slices] for n in layer.bands])

    expected = baseline_method(name, Field(task, 120, 144, read, "mtf", "S2A"))(Area(0, 0, 120, 144)).numpy()
    found = made(image, name)
    assert list(found) == list(image.bands)
    for band, values in zip(task.target.bands, expected, strict=True):
        np.testing.assert_allclose(found[band] * REFLECTANCE_ONE, values, rtol=0, atol=0.1)


@pytest.mark.parametrize("name", BASELINES)
def test_neither_windows_nor_a_region_show(name: str) -> None:
    image = Ground(240, 264)
    image.dn["B05"][40, 50], image.dn["B03"][33, 44] = 0, 0
    whole, tiled = made(image, name), made(image, name, replace(FLOAT, window_px=60))
    part = made(image, name, replace(FLOAT, window_px=60, region=Region("pixels", (78, 90, 60, 60))))
    for band, values in whole.items():
        tolerance = 2e-3 * float(np.nanmean(values)) if name == "supreme" else 2e-5
        np.testing.assert_allclose(tiled[band], values, rtol=0, atol=tolerance)
        assert np.array_equal(part[band], tiled[band][78:138, 90:150], equal_nan=True)
        missing = np.zeros(values.shape, bool)
        if band == "B05":
            missing[80:82, 100:102] = True
        if band == "B03":
            missing[33, 44] = True
        assert np.array_equal(np.isnan(values), missing), band


def test_a_grid_that_ends_inside_a_coarse_pixel_and_few_bands_are_enough() -> None:
    image = Ground(124, 130)
    image.bands = ("B03", "B05", "B08", "B8A", "B09")
    image.satellite = ""
    found = made(image, "guided")
    assert list(found) == ["B03", "B05", "B08", "B8A", "B09"]
    assert all(values.shape == (124, 130) and np.isfinite(values).all() for values in found.values())
    image.bands = ("B03", "B09")
    assert list(made(image, "supreme")) == ["B03", "B09"]
    for bands in (("B05", "B09"), ("B02", "B03")):
        image.bands = bands
        with pytest.raises(UnknownBandError, match="give 10 m bands, and 20 m"):
            made(image, "guided")


def test_what_methods_cannot_do_is_refused_with_the_reason() -> None:
    image = Ground(24, 24)
    for options in (replace(FLOAT, ensemble=True), replace(FLOAT, ensemble=True, spread=True)):
        with pytest.raises(RecipeError, match="guided makes the same of an image that is turned"):
            made(image, "guided", options)
    with pytest.raises(RecipeError, match="unknown method 'lanczos'"):
        made(image, "lanczos")
    with pytest.raises(RecipeError, match="sharpens B05, as"):
        sharpen_in_memory([*both_repeating(), *methods_for(image, "bicubic")], image, FLOAT)


def test_the_law_is_chosen_and_told_and_decides_what_is_the_same() -> None:
    image = Ground(96, 96)
    plans = [sharpen_in_memory(methods_for(image, "guided", law), image, FLOAT) for law in ("mtf", "wald", "mtf")]
    assert [plan.models[0].told for plan, _ in plans[:2]] == [
        "guided (no training) degradation mtf",
        "guided (no training) degradation wald",
    ]
    assert plans[0][0].digest == plans[2][0].digest != plans[1][0].digest
    assert np.abs(plans[0][1] - plans[1][1]).max() > 1e-3


@pytest.mark.parametrize("name", ["atprk", "supreme"])
def test_methods_are_fitted_where_something_was_measured(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "FIT_PX", 60)
    image = Ground(240, 240)
    (at_20, at_60) = methods_for(image, name)
    assert at_20._place() == at_60._place() == Area(90, 90, 60, 60)
    for band in BANDS_20M + BANDS_60M:
        image.dn[band][:, : image.dn[band].shape[1] * 5 // 8] = 0
    assert [sharpener._place() for sharpener in methods_for(image, name)] == [Area(0, 180, 60, 60)] * 2
    kept = made(image, name)["B11"]
    assert np.isnan(kept[:, :150]).all() and np.isfinite(kept[:, 150:]).all()
    assert 0.1 < kept[:, 150:].mean() < 0.5


def test_back_projection_and_names_of_bands() -> None:
    image = Ground(120, 120)
    options = replace(FLOAT, back_project=True, bands=("B8A", "B02"))
    found = made(image, "bicubic", options, "wald")
    assert list(found) == ["B02", "B8A"]
    measured = image.radiometry("B8A").stored(image.dn["B8A"])
    seen = degrade(found["B8A"][None] * REFLECTANCE_ONE, kernel("wald", 2, ("B8A",), "S2A"))[0]
    np.testing.assert_allclose(seen, measured, rtol=0, atol=0.05)
    with pytest.raises(UnknownBandError, match="no band 'B10' comes out of it"):
        made(image, "bicubic", replace(FLOAT, bands=("B10",)))
