"""Methods without training asked for areas, as a whole or by patches, of images of both tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from wald_scenes import wald_pair

from hpc_sr.classical.methods import BASELINES, check_baselines, fit_baseline
from hpc_sr.errors import RecipeError
from hpc_sr.evaluate import methods
from hpc_sr.evaluate.methods import Field, baseline_method, by_tiles
from hpc_sr.evaluate.protocols.patches import baseline_on_patches
from hpc_sr.infer.windows import Area, tile_cores
from hpc_sr.tasks import S2X, S6X, Layer, Task, task_by_name

TASKS = pytest.mark.parametrize("task", [S2X, S6X], ids=lambda task: task.name)


def field_of(shared_data: Path, task: Task, scene: str = "l1c_iceland") -> tuple[Field, dict[str, torch.Tensor]]:
    pair = {name: layer.float() for name, layer in wald_pair(shared_data, scene, task).items()}
    height, width = pair["target"].shape[1:]

    def read(layer: Layer, area: Area) -> np.ndarray:
        assert area == area.within(height // layer.stride, width // layer.stride), "asked for beyond the image"
        return pair[layer.name][(slice(None), *area.slices)].numpy()

    return Field(task, height, width, read, "wald", "S2A"), pair


@TASKS
@pytest.mark.parametrize("name", BASELINES)
def test_an_area_has_the_values_of_the_whole(shared_data: Path, task: Task, name: str) -> None:
    field, pair = field_of(shared_data, task)
    whole = fit_baseline(name, task, "wald", "S2A", {x.name: pair[x.name] for x in task.inputs}).sharpen(pair)
    method, rng = baseline_method(name, field), np.random.default_rng(5)
    # SupReME's windows agree as far as what lies beyond its overlap is forgotten; the others are local.
    tolerance = 2e-3 * whole.square().mean().sqrt() if name == "supreme" else 2e-3
    for _ in range(4):
        row, column = (int(rng.integers(0, size - 12)) for size in (field.height, field.width))
        area = Area(row, column, int(rng.integers(1, field.height - row)), int(rng.integers(1, field.width - column)))
        assert (method(area) - whole[(slice(None), *area.slices)]).abs().max() <= tolerance


def test_a_large_image_is_fitted_to_its_middle(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    field, pair = field_of(shared_data, S2X)
    monkeypatch.setattr(methods, "FIT_PX", 120)
    area = Area(0, 0, field.height, field.width)
    whole = baseline_method("atprk", field)(area)
    row, column = ((size - 120) // 2 // 2 * 2 for size in (field.height, field.width))
    middle = {
        layer.name: pair[layer.name][
            :,
            row // layer.stride : (row + 120) // layer.stride,
            column // layer.stride : (column + 120) // layer.stride,
        ]
        for layer in S2X.inputs
    }
    assert torch.equal(whole, fit_baseline("atprk", S2X, "wald", "S2A", middle).sharpen(pair))


@pytest.mark.parametrize("name", BASELINES)
def test_a_patch_is_an_image_of_its_own(shared_data: Path, name: str) -> None:
    _, pair = field_of(shared_data, S2X)
    sides = {layer.name: 32 // layer.stride for layer in S2X.inputs}
    patches = {
        layer: torch.stack([pair[layer][:, row : row + side, :side] for row in (0, side)])
        for layer, side in sides.items()
    }
    estimate = baseline_on_patches(name, S2X, "wald", "S2A")(patches)
    assert estimate.shape == (2, 6, 32, 32)
    for one in (0, 1):
        image = {layer: values[one] for layer, values in patches.items()}
        alone = fit_baseline(name, S2X, "wald", "S2A", image).sharpen(image)
        torch.testing.assert_close(estimate[one], alone, rtol=1e-6, atol=1e-3)


def test_unknown_methods_and_images_without_guides_are_refused() -> None:
    with pytest.raises(RecipeError, match="'lanczos'"):
        check_baselines(("bicubic", "lanczos"), S2X)
    check_baselines(("nearest", "bilinear", "bicubic"), task_by_name("sisr_x4"))
    with pytest.raises(RecipeError, match="guided"):
        check_baselines(("guided",), task_by_name("refsr_x4"))


def test_tiles_are_asked_for_once_and_give_every_area() -> None:
    image = torch.arange(3 * 50 * 70, dtype=torch.float32).reshape(3, 50, 70)
    asked: list[Area] = []

    def method(area: Area) -> torch.Tensor:
        asked.append(area)
        return image[(slice(None), *area.slices)]

    tiles = tile_cores(50, 70, 8, shift_px=3)
    tiled = by_tiles(method, tiles)
    for core in tile_cores(50, 70, 16):
        area = core.grown(2).within(50, 70)
        assert torch.equal(tiled(area), image[(slice(None), *area.slices)])
    assert sorted(asked, key=str) == sorted(tiles, key=str)
