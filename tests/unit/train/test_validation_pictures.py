"""Pictures of a validation: the same patches every time, input, estimate and reference where they belong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import small_generator
from support import TinyWorld
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.data.dataset import Patches
from hpc_sr.shards.reader import Store
from hpc_sr.tasks import S2X, S26X, Task
from hpc_sr.train.diary import Diary
from hpc_sr.train.pictures import validation_pictures


class Ramps(Patches):
    """Patches whose target rises from left to right, and whose inputs are its means."""

    def __init__(self, task: Task, patch_px: int, count: int):
        self._task, self._patch_px, self._count = task, patch_px, count

    def __len__(self) -> int:
        return self._count

    def take(self, sorted_indices: np.ndarray) -> dict[str, np.ndarray]:
        ramp = np.arange(self._patch_px) * 100
        found = {}
        for layer in self._task.layers:
            channels, height, width = self._task.shape(layer, self._patch_px)
            row = ramp.reshape(width, -1).mean(axis=1)
            plane = np.broadcast_to(row, (len(sorted_indices), channels, height, width))
            found[layer.name] = plane.astype(np.int16)
        return found


@pytest.mark.parametrize("task", [S2X, S26X])
@pytest.mark.parametrize("count", [1, 3, 50])
def test_input_estimate_and_reference_stand_side_by_side(task: Task, count: int) -> None:
    generator, patches = small_generator(task=task, patch_px=24), Ramps(task, 24, count)
    pictures = validation_pictures(generator, patches, "fp32")
    assert list(pictures) == [target.name for target in task.targets] and not generator.training
    for target in task.targets:
        picture = pictures[target.name]
        side, rows = 24 * 6, min(count, 4)
        assert picture.dtype == np.uint8 and picture.shape == (3, rows * side, 3 * side)
        shown = picture[:, :side].astype(int)
        given, _, reference = (shown[..., first * side : (first + 1) * side] for first in range(3))
        assert len(np.unique(reference[0, 0])) > 20 and len(np.unique(given[0, 0])) <= 24 // target.scale
        assert (np.diff(reference[0, 0]) >= 0).all() and (reference[..., -1] == 255).all()
        blocks = reference.reshape(3, side, -1, side * target.scale // 24).mean(axis=3)
        step = side * target.scale // 24
        assert np.abs(given[..., ::step] - blocks).max() < 12, "the input is the mean of the reference, in one stretch"
    again = validation_pictures(generator, patches, "fp32")
    assert all((again[name] == picture).all() for name, picture in pictures.items())


def test_the_board_shows_real_patches(tiny: TinyWorld, tmp_path: Path) -> None:
    store, comm = Store(tiny.store), SerialComm(torch.device("cpu"))
    patches = Patches.of(store.split("validation"), S2X, store.manifest.patch_px)
    with Diary(tmp_path, comm, None, resume_step=0) as diary:  # type: ignore[arg-type]
        assert diary.shows_pictures
        for step in (5, 10):
            pictures = validation_pictures(small_generator(patch_px=16), patches, "fp32")
            diary.pictures(step, pictures)
    board = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0}).Reload()
    (tag,) = board.Tags()["images"]
    assert tag == "validation/target: input, estimate, reference"
    assert [(event.step, event.width, event.height) for event in board.Images(tag)] == [(5, 384, 512), (10, 384, 512)]
