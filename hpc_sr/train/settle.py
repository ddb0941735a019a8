"""The end of a run: what a network measures on all training patches once its weights are those that are used."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from hpc_sr.comm.communicator import Comm
from hpc_sr.data.dataset import Patches
from hpc_sr.models.generator import Generator

#: Patches that are read at a time: some are of 700 px a side.
_PATCHES = 4


def settle(generator: Generator, patches: Patches, comm: Comm) -> None:
    """Let a generator measure what it needs, on every training patch once, shared by the ranks. Collective.

    Leaves the generator in evaluation mode. A network that needs nothing reads nothing.
    """
    generator.eval().settle(_inputs(generator, patches, comm), comm.sum)


def _inputs(generator: Generator, patches: Patches, comm: Comm) -> Iterator[tuple[torch.Tensor, ...]]:
    mine = np.arange(len(patches))[comm.rank :: comm.world_size]
    for start in range(0, len(mine), _PATCHES):
        layers = patches.take(mine[start : start + _PATCHES])
        yield tuple(
            generator.units.to_network(torch.from_numpy(layers[layer.name]).to(comm.device).float())
            for layer in generator.task.inputs
        )
