"""Patches of random values: what a step takes does not depend on what it is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpc_sr.data.dataset import Patches
from hpc_sr.shards.reader import ShardReader
from hpc_sr.shards.schema import layers_of
from hpc_sr.shards.writer import ShardWriter
from hpc_sr.tasks import Task

_SHARDS = 4


def patches_of_noise(folder: Path, task: Task, patch_px: int, rows: int) -> Patches:
    """Return `rows` patches of a task, in shards that are written into `folder`."""
    layers, rng = layers_of(task, patch_px), np.random.default_rng(0)
    shards = []
    for k in range(_SHARDS):
        path, count = folder / f"{k}.h5", rows // _SHARDS
        with ShardWriter(path, layers, count, ("noise",), {}, "contiguous") as writer:
            values = {n: rng.integers(0, 10000, (count, *x["shape"]), np.int16) for n, x in layers.items()}
            writer.append(values, np.zeros((count, 2), np.int32))
        shards.append(ShardReader(path, count, layers))
    return Patches.of(shards, task, patch_px)
