"""A split's patches in the memory of the training device: batches are gathered there, and nothing travels to it."""

from __future__ import annotations

import math

import numpy as np
import torch

from hpc_sr.data.dataset import Patches
from hpc_sr.logs import logger
from hpc_sr.shards.staging import available_memory_bytes

#: Of the memory that is free once the networks lie there: the rest is for what a step makes of a batch.
_MOST = 0.5
_BLOCK_ROWS = 4096


class PatchesOnDevice:
    """All patches of a split on one device. `take` gives the same numbers as that of `Patches`, as tensors there."""

    def __init__(self, patches: Patches, device: torch.device):
        self.rows_per_shard, self._device = patches.rows_per_shard, device
        count = len(patches)
        self._layers = {
            name: torch.empty((count, *shape), dtype=torch.int16, device=device)
            for name, shape in patches.shapes.items()
        }
        for first in range(0, count, _BLOCK_ROWS):
            rows = np.arange(first, min(first + _BLOCK_ROWS, count))
            for name, values in patches.take(rows).items():
                self._layers[name][first : first + len(rows)] = torch.from_numpy(values)

    def take(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        """Return the samples of these indices, a (n, C, H, W) int16 tensor per layer."""
        rows = torch.from_numpy(indices)
        if self._device.type == "cuda":
            rows = rows.pin_memory()  # from other memory the copy would wait for all work of the device
        rows = rows.to(self._device, non_blocking=True)
        return {name: values.index_select(0, rows) for name, values in self._layers.items()}


def held_on(device: torch.device, patches: Patches) -> Patches | PatchesOnDevice:
    """Return the patches in the memory of a device, or with a warning as they are, where they would fill it.

    They may take half of what is free.
    """
    needed_bytes = 2 * len(patches) * sum(math.prod(shape) for shape in patches.shapes.values())
    free_bytes = _free_bytes(device)
    if needed_bytes > _MOST * free_bytes:
        logger.warning(
            "train.stage=device: the patches stay where they are, and travel to %s batch by batch: they are %s bytes, "
            "and of %s free ones there half is for training",
            device,
            f"{needed_bytes:,}",
            f"{free_bytes:,}",
        )
        return patches
    held = PatchesOnDevice(patches, device)
    logger.info("%d training patches lie on %s, %s bytes", len(patches), device, f"{needed_bytes:,}")
    return held


def _free_bytes(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_memory_bytes()
