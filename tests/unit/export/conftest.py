"""Small networks as they are exported, and real pixels for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from made_networks import narrow, trained

from hpc_sr.export.folder import Export, probes_of
from hpc_sr.export.graphs import Inputs
from hpc_sr.tasks import BANDS_10M, BANDS_20M, BANDS_60M, task_by_name

HISTORY = {"name": "small", "training": {"recipe": {}, "environment": {}, "data": None}, "scores": {}}


@pytest.fixture
def small_model() -> Callable[..., Export]:
    """Returns a network of a family and a task whose attention, if it has one, matters, with means that matter."""

    def make(family: str, task_name: str, patch_px: int, **changed: str) -> Export:
        task = task_by_name(task_name)
        means = {layer.name: tuple(600.0 + 200.0 * k for k in range(len(layer.bands))) for layer in task.inputs}
        made = trained(task, patch_px, narrow(family, blocks=2), means=means, **changed)
        return Export(made, HISTORY, probes_of(made))

    return make


@pytest.fixture
def real_inputs(shared_data: Path) -> Callable[..., Inputs]:
    """Returns real pixels of a scene as a network's inputs: rows x columns px of the 10 m grid from a corner."""
    with np.load(shared_data / "scenes" / "l1c_malmo_T33UUB.npz") as scene:
        grids = {name: scene[key].astype(np.float32) for name, key in (("x10", "d10"), ("x20", "d20"), ("x60", "d60"))}
    assert [grids[name].shape[2] for name in grids] == [len(BANDS_10M), len(BANDS_20M), len(BANDS_60M)]

    def cut(model: Export, batch: int, rows_px: int, columns_px: int, corner_px: int = 0) -> Inputs:
        inputs = []
        for layer in model.generator.task.inputs:
            s, starts = layer.stride, [corner_px + 60 * k for k in range(batch)]
            crops = [
                grids[layer.name][start // s : (start + rows_px) // s, : columns_px // s].transpose(2, 0, 1)
                for start in starts
            ]
            inputs.append(torch.from_numpy(np.stack(crops)))
        return tuple(inputs)

    return cut
