"""SRResNet, the generator of SRGAN: residual blocks with BatchNorm on the small picture, then sub-pixel convolutions.

Source: Ledig et al. 2017, https://arxiv.org/abs/1609.04802.
"""

from __future__ import annotations

import torch
from torch import nn

from hpc_sr.models.blocks import conv3, subpixel
from hpc_sr.models.facts import Facts
from hpc_sr.models.picture_options import SRResNetOptions
from hpc_sr.models.reach import Reach
from hpc_sr.models.single_image import SingleImage
from hpc_sr.tasks import Task

_OUTER_PX = 9


class SRResNet(SingleImage):
    """16 blocks of 64 channels have 1,549,462 parameters at x4, 1,401,749 at x2, with one slope for each PReLU.

    The last layer's tanh spans -1..1, which is black to white: 0 is grey.
    """

    def __init__(self, task: Task, options: SRResNetOptions, facts: Facts):
        width, stages = options.width, task.scale.bit_length() - 1
        outer_px = _OUTER_PX // 2
        # Stage k works on pixels of scale / 2^k target pixels.
        stages_px = sum(task.scale >> stage for stage in range(1, stages))
        super().__init__(
            task,
            facts,
            Reach((outer_px + 2 * options.blocks + 2) * task.scale, stages_px + outer_px),
            width,
            options.base,
        )
        self.first = nn.Conv2d(self.bands, width, _OUTER_PX, padding=outer_px)
        self.first_slope = _prelu(options)
        self.blocks = nn.Sequential(*(_Block(options) for _ in range(options.blocks)))
        self.trunk = conv3(width, width)
        self.trunk_norm = nn.BatchNorm2d(width, options.norm_eps)
        self.stages = nn.Sequential(*(subpixel(width, _prelu(options)) for _ in range(stages)))
        self.last = nn.Conv2d(width, self.bands, _OUTER_PX, padding=outer_px)

    @property
    def own_base(self) -> float:
        return 0.5

    def finer(self, coarse_BChw: torch.Tensor) -> torch.Tensor:
        features = self.first_slope(self.first(coarse_BChw))
        features = features + self.trunk_norm(self.trunk(self.blocks(features)))
        return torch.tanh(self.last(self.stages(features))) / 2


class _Block(nn.Module):
    def __init__(self, options: SRResNetOptions):
        super().__init__()
        self.first, self.second = (conv3(options.width, options.width) for _ in range(2))
        self.first_norm, self.second_norm = (nn.BatchNorm2d(options.width, options.norm_eps) for _ in range(2))
        self.slope = _prelu(options)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        inner = self.slope(self.first_norm(self.first(x_BCHW)))
        return x_BCHW + self.second_norm(self.second(inner))


def _prelu(options: SRResNetOptions) -> nn.PReLU:
    return nn.PReLU(options.width if options.slopes == "channel" else 1)
