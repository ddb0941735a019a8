"""SRCNN: three convolutions on the bicubic enlargement.

Source: Dong et al. 2016, https://arxiv.org/abs/1501.00092.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from hpc_sr.models.blocks import init_he_uniform
from hpc_sr.models.facts import Facts
from hpc_sr.models.filters import BICUBIC_REACH_PX, at_least_float32, bicubic
from hpc_sr.models.picture_options import SRCNNOptions
from hpc_sr.models.reach import Reach
from hpc_sr.models.single_image import OfColours
from hpc_sr.tasks import Task

_FIRST_PX, _LAST_PX = 9, 5


class SRCNN(OfColours):
    """SRCNN 9-1-5 of one channel has 8,129 parameters (8,032 weights), of three 20,099; 9-5-5 57,281 and 69,251."""

    def __init__(self, task: Task, options: SRCNNOptions, facts: Facts):
        looks_px = sum(kernel // 2 for kernel in (_FIRST_PX, options.middle_px, _LAST_PX))
        reach = Reach(BICUBIC_REACH_PX * task.scale, looks_px)
        super().__init__(task, options, facts, reach, options.width)
        self.first = _conv(self.channels, options.width, _FIRST_PX)
        self.middle = _conv(options.width, options.hidden, options.middle_px)
        self.last = _conv(options.hidden, self.channels, _LAST_PX)
        init_he_uniform(self)

    def finer(self, coarse_BChw: torch.Tensor) -> torch.Tensor:
        return self.restored(bicubic(at_least_float32(coarse_BChw), self.scale))

    def restored(self, enlarged_BCHW: torch.Tensor) -> torch.Tensor:
        """Return what the three convolutions make of an enlargement."""
        features = F.relu(self.first(enlarged_BCHW), inplace=True)
        return self.last(F.relu(self.middle(features), inplace=True))


def _conv(channels_in: int, channels_out: int, kernel_px: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel_px, padding=kernel_px // 2)
