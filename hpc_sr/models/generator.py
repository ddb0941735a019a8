"""What every generator promises: task, units, reach and memory.

Its forward pass takes and returns network units, its estimate stored units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from hpc_sr.models.facts import Facts
from hpc_sr.models.reach import Reach
from hpc_sr.tasks import Task

#: Activations of a trunk that are held at a time, and what a value takes.
_MAPS_HELD, _BYTES = {"fp32": 4, "bf16": 6, "fp16": 6}, {"fp32": 4, "bf16": 2, "fp16": 2}


class Outputs(NamedTuple):
    """What a forward pass gives, in network units: the targets in the task's order, and more by name."""

    targets: tuple[torch.Tensor, ...]
    extras: Mapping[str, torch.Tensor] = MappingProxyType({})


class Generator(nn.Module):
    """A network that estimates a task's targets.

    `forward` takes the task's inputs in order, (B, C, H / stride, W / stride) in network units, and returns Outputs
    with the targets (B, C, H, W). H and W are multiples of `multiple_px`, and the map's upper-left corner lies on
    one where the network is tiled. `reach` tells how far an output pixel looks; None: at the whole image.
    """

    reach: Reach | None = None

    def __init__(self, task: Task, facts: Facts, width: int):
        """`width` is the channels of the widest map on the finest grid."""
        super().__init__()
        self.task, self.facts, self.units, self.width = task, facts, facts.units, width

    @property
    def multiple_px(self) -> int:
        """What the sides of a map are multiples of, in target pixels."""
        window_px = self.reach.window_px if self.reach is not None else None
        return math.lcm(self.task.alignment_px, window_px or 1)

    @property
    def least_px(self) -> int:
        """The shortest side of maps of any size in target pixels: less would be another graph, or none."""
        return self.multiple_px

    @property
    def halo_px(self) -> int:
        """How far from an output pixel inputs are read; of a network that looks at everything, a patch."""
        reach = self.reach or Reach(self.facts.patch_px, 0)
        return reach.halo_px(self.multiple_px)

    def estimate(self, *stored_BCHW: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the targets of inputs, both float32 in stored units: the place where units change in use."""
        outputs = self(*(self.units.to_network(x.float()) for x in stored_BCHW))
        return tuple(self.units.to_stored(target.float()) for target in outputs.targets)

    def settle(self, inputs: Iterator[tuple[torch.Tensor, ...]], total: Callable[[np.ndarray], np.ndarray]) -> None:
        """Measure what use asks for of the weights that a run ends with, and keep it in buffers. Collective.

        `inputs` are all training patches of this rank, in network units; `total` is the sum over ranks. Most networks
        need nothing, and then nothing is read.
        """

    def bytes_per_px(self, precision: str) -> int:
        """Return what activations take while predicting, in bytes a target pixel that is read."""
        return _MAPS_HELD[precision] * _BYTES[precision] * self.width
