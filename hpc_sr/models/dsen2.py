"""DSen2 and VDSen2 (Lanaras et al. 2018): concatenate, residual blocks, add."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from hpc_sr.models.blocks import ResidualBlock, conv3, init_he_uniform
from hpc_sr.models.generator import Generator
from hpc_sr.models.options import ModelOptions
from hpc_sr.tasks import Task


class DSen2(Generator):
    """DSen2 is 6 blocks of 128 channels (1,789,574 parameters at 20 m), VDSen2 32 of 256 (37,802,246)."""

    def __init__(self, task: Task, options: ModelOptions):
        super().__init__(task, options.width, window_px=None)
        channels = sum(len(layer.bands) for layer in task.inputs)
        self.first = conv3(channels, options.width)
        self.trunk = nn.Sequential(
            *(ResidualBlock(options.width, options.residual_scale) for _ in range(options.blocks))
        )
        self.head = conv3(options.width, len(task.target.bands))
        self._reach(1 + 2 * options.blocks, 1)
        init_he_uniform(self)

    def forward(self, *inputs_BCHW: torch.Tensor) -> torch.Tensor:
        upsampled = self.upsample(inputs_BCHW)
        features = self.trunk(F.relu(self.first(torch.cat(upsampled, 1))))
        return self.base(upsampled) + self.head(features)
