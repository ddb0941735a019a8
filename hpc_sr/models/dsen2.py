"""DSen2 and VDSen2: concatenate, residual blocks, add.

Source: Lanaras et al. 2018, https://arxiv.org/abs/1803.04271.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from hpc_sr.models.blocks import ResidualBlock, conv3, init_he_uniform
from hpc_sr.models.facts import Facts
from hpc_sr.models.generator import Outputs
from hpc_sr.models.multi_resolution import MultiResolution
from hpc_sr.models.options import DSen2Options
from hpc_sr.models.reach import Reach
from hpc_sr.tasks import Task


class DSen2(MultiResolution):
    """DSen2 is 6 blocks of 128 channels (1,789,574 parameters at 20 m), VDSen2 32 of 256 (37,802,246)."""

    def __init__(self, task: Task, options: DSen2Options, facts: Facts):
        super().__init__(task, options, facts, Reach(1 + 2 * options.blocks, 1), options.width)
        channels = sum(len(layer.bands) for layer in task.inputs)
        self.first = conv3(channels, options.width)
        self.trunk = nn.Sequential(
            *(ResidualBlock(options.width, options.residual_scale) for _ in range(options.blocks))
        )
        self.head = conv3(options.width, len(task.bands))
        init_he_uniform(self)

    def forward(self, *inputs_BCHW: torch.Tensor) -> Outputs:
        upsampled = self.upsample(inputs_BCHW)
        features = self.trunk(F.relu(self.first(torch.cat(upsampled, 1))))
        return self.added(inputs_BCHW, upsampled, self.head(features))
