"""Training pairs of a product: shapes, values, and marks that grow by the kernel's support and no further."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_prep.synthetic import Scene, landscape, write_product
from hpc_sr.errors import DegradationError, RasterError, RegistrationError, ShapeError
from hpc_sr.sentinel2.bands import BANDS
from hpc_sr.sentinel2.degrade import degrade, kernel
from hpc_sr.sentinel2.pairs import Pair, pair_shape, stored, synthesis_pair
from hpc_sr.sentinel2.safe import open_product
from hpc_sr.tasks import PRE6X, S2X, S6X, S26X, Layer, Task

Products = dict[tuple[str, str], Path]
_TASKS = pytest.mark.parametrize("task", [S2X, S6X, S26X, PRE6X], ids=lambda task: task.name)
#: How many times coarser than measured each layer is. Jointly, both targets lie on the 60 m grid of the coarser one.
_COARSER = {
    "s2x": {"x10": 2, "x20": 2, "target": 1},
    "s6x": {"x10": 6, "x20": 6, "x60": 6, "target": 1},
    "s26x": {"x10": 6, "x20": 6, "x60": 6, "target20": 3, "target60": 1},
    "pre6x": {"x10": 2, "x20": 6, "target": 1},
}
_LAWS = pytest.mark.parametrize("degradation", ["wald", "mtf"])


def _degraded(
    scene: Scene, task: Task, layer: Layer, degradation: str, shape: tuple[int, int], phase: tuple[int, int] = (0, 0)
) -> np.ndarray:
    """Return the layer's reflectance (C, H, W) from the scene itself, NaN where it is no measurement."""
    scale = _COARSER[task.name][layer.name]
    top, left, rows, columns = (side * scale // layer.stride for side in (*phase, *shape))
    bands = [scene.dn[name][top : top + rows, left : left + columns] for name in layer.bands]
    dn = np.stack(bands).astype(np.float32)
    dn[(dn == 0) | (dn == 65535)] = np.nan
    return dn / 10_000 if scale == 1 else degrade(dn / 10_000, kernel(degradation, scale, layer.bands, "S2B"))


@_TASKS
def test_shapes_are_whole_coarsest_pixels(products: Products, task: Task) -> None:
    product = open_product(products["L1C", "05.09"])
    shape = pair_shape(product, task)
    # 93 x 126 px at 20 m and 31 x 42 px at 60 m.
    assert shape == {"s2x": (92, 126), "s6x": (30, 42), "s26x": (30, 42), "pre6x": (90, 126)}[task.name]
    pair = synthesis_pair(product, task, "wald")
    assert list(pair.layers) == [layer.name for layer in task.layers]
    for layer in task.layers:
        found = pair.layers[layer.name]
        assert found.shape == (len(layer.bands), shape[0] // layer.stride, shape[1] // layer.stride)
        assert found.dtype == np.int16
    assert pair.marks["nodata"].shape == pair.marks["saturated"].shape == shape
    assert not pair.marks["nodata"].any() and not pair.marks["saturated"].any()


@_TASKS
@_LAWS
@pytest.mark.parametrize("baseline", ["02.08", "05.09"])
def test_layers_are_the_degraded_reflectances(
    products: Products, scene: Scene, task: Task, degradation: str, baseline: str
) -> None:
    pair = synthesis_pair(open_product(products["L2A", baseline]), task, degradation)
    height, width = pair.marks["nodata"].shape
    for layer in task.layers:
        expected = _degraded(scene, task, layer, degradation, (height, width)) * 10_000
        # Half a unit of rounding, and the float32 of reflectances around 0.5.
        np.testing.assert_allclose(pair.layers[layer.name], expected, rtol=0, atol=0.502)
        assert task.training_scale(layer) == _COARSER[task.name][layer.name]
    measured = task.targets[-1]
    for index, name in enumerate(measured.bands):
        np.testing.assert_array_equal(pair.layers[measured.name][index], scene.dn[name][:height, :width])


@_LAWS
def test_the_joint_pair_holds_the_pair_of_the_coarser_target(products: Products, degradation: str) -> None:
    product = open_product(products["L1C", "05.09"])
    joint, coarser = (synthesis_pair(product, task, degradation) for task in (S26X, S6X))
    assert list(joint.layers) == ["x10", "x20", "x60", "target20", "target60"]
    for name, values in coarser.layers.items():
        np.testing.assert_array_equal(joint.layers["target60" if name == "target" else name], values)


@_TASKS
def test_a_phase_is_the_pair_of_a_product_that_begins_there(products: Products, scene: Scene, task: Task) -> None:
    product, phase = open_product(products["L1C", "05.09"]), (1, task.scale - 1)
    pair = synthesis_pair(product, task, "mtf", phase=phase)
    assert pair.shape <= pair_shape(product, task) and not any(side % task.alignment_px for side in pair.shape)
    for layer in task.layers:
        expected = _degraded(scene, task, layer, "mtf", pair.shape, phase)
        np.testing.assert_allclose(pair.layers[layer.name], expected * 10_000, rtol=0, atol=0.502)


@_LAWS
def test_the_satellite_decides_the_kernel(products: Products, scene: Scene, degradation: str) -> None:
    with pytest.raises(DegradationError, match="'none'"):
        synthesis_pair(open_product(products["L1C", "05.09"]), S2X, "none")
    pair = synthesis_pair(open_product(products["L1C", "05.09"]), S2X, degradation)
    other = {"wald": "mtf", "mtf": "wald"}[degradation]
    for layer in S2X.inputs:
        expected = _degraded(scene, S2X, layer, other, pair.marks["nodata"].shape) * 10_000
        assert np.abs(pair.layers[layer.name] - expected).max() > 10


def _marked_pair(
    scene: Scene, task: Task, degradation: str, value: int, where: dict, folder: Path, **label
) -> tuple[Pair, Scene]:
    dn = {name: band.copy() for name, band in scene.dn.items()}
    for name, place in where.items():
        dn[name][place] = value
    spoilt = Scene(dn)
    return synthesis_pair(
        open_product(write_product(folder, spoilt, satellite="S2B", **label)), task, degradation
    ), spoilt


def _expected_marks(scene: Scene, task: Task, degradation: str, shape: tuple[int, int]) -> np.ndarray:
    """Return where NaN arrives when it is put through the degradation itself."""
    marks = np.zeros(shape, bool)
    for layer in task.layers:
        lost = np.isnan(_degraded(scene, task, layer, degradation, shape)).any(0)
        marks |= lost.repeat(layer.stride, 0).repeat(layer.stride, 1)
    return marks


@_TASKS
@_LAWS
@pytest.mark.parametrize(
    "where",
    [
        {"B02": (60, 61)},
        {"B11": (40, 51)},
        {"B01": (7, 8), "B09": (29, 41)},
        {"B08": (0, 0), "B05": (91, 3), "B12": (slice(10, 13), 90)},
    ],
    ids=lambda where: "+".join(where),
)
@pytest.mark.parametrize("value", [0, 65535])
def test_marks_grow_by_the_support_only(
    scene: Scene, tmp_path: Path, task: Task, degradation: str, where: dict, value: int
) -> None:
    pair, spoilt = _marked_pair(scene, task, degradation, value, where, tmp_path)
    expected = _expected_marks(spoilt, task, degradation, pair.marks["nodata"].shape)
    marked, other = (
        (pair.marks["nodata"], pair.marks["saturated"])
        if value == 0
        else (pair.marks["saturated"], pair.marks["nodata"])
    )
    np.testing.assert_array_equal(marked, expected)
    assert not other.any()
    assert expected.any() == any(name in layer.bands for layer in task.layers for name in where)
    assert not expected.all()


@_LAWS
@pytest.mark.parametrize("scale", [2, 6])
def test_strips_are_the_whole(degradation: str, scale: int) -> None:
    dn = np.random.default_rng(0).integers(1, 12_000, (3 * 240 + 6 * 17, 60), dtype=np.uint16)
    law = kernel(degradation, scale, ("B11",), "S2A")
    out = np.empty((dn.shape[0] // scale, 60 // scale), np.int16)
    stored(dn, law, -1000.0, 10_000.0, out)
    whole = degrade(dn[None].astype(np.float64), law)[0] - 1000
    np.testing.assert_allclose(out, whole, rtol=0, atol=0.502)
    same = np.empty(dn.shape, np.int16)
    stored(dn, None, -1000.0, 10_000.0, same)
    np.testing.assert_array_equal(same, dn.astype(int) - 1000)


def test_a_misregistered_product_is_refused_with_its_shift(scene: Scene, tmp_path: Path) -> None:
    moved = Scene({name: np.roll(dn, 1, 1) if BANDS[name].gsd_m == 20 else dn for name, dn in scene.dn.items()})
    product = open_product(write_product(tmp_path, moved))
    with pytest.raises(RegistrationError, match=r"columns off B08"):
        synthesis_pair(product, S2X, "wald", registration_px=0.5)
    shift = synthesis_pair(product, S2X, "wald", registration_px=1.5).found["registration_px"]["20 m"]
    np.testing.assert_allclose(shift, (0, 1), atol=0.1)


def test_exchanged_bands_are_refused_unless_nobody_looks(scene: Scene, tmp_path: Path) -> None:
    exchanged = Scene(dict(scene.dn) | {"B02": scene.dn["B08"], "B08": scene.dn["B02"]})
    product = open_product(write_product(tmp_path, exchanged))
    for task in (S2X, S6X):
        with pytest.raises(RasterError, match="what is called B02 looks like near infrared"):
            synthesis_pair(product, task, "wald", registration_px=5.0)
        synthesis_pair(product, task, "wald")


def test_nodata_wins_over_saturation(scene: Scene, tmp_path: Path) -> None:
    dn = {name: band.copy() for name, band in scene.dn.items()}
    dn["B05"][20, 20], dn["B06"][20, 20], dn["B06"][60, 60] = 0, 65535, 65535
    product = open_product(write_product(tmp_path, Scene(dn)))
    pair = synthesis_pair(product, S2X, "wald")
    assert pair.marks["nodata"][20, 20] and not pair.marks["saturated"][20, 20]
    assert pair.marks["saturated"][60, 60] and not pair.marks["nodata"][60, 60]
    assert not (pair.marks["nodata"] & pair.marks["saturated"]).any()


def test_a_product_below_one_coarsest_pixel_is_refused(tmp_path: Path) -> None:
    product = open_product(write_product(tmp_path, landscape(30, seed=2)))
    assert pair_shape(product, S2X) == (14, 14)
    for task in (S6X, S26X):
        with pytest.raises(ShapeError, match="5 x 5 px at 60 m"):
            pair_shape(product, task)
