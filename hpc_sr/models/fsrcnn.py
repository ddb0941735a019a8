"""FSRCNN: features of the small picture, shrunk, mapped, expanded, and enlarged by a transposed convolution.

Source: Dong, Loy and Tang 2016, https://arxiv.org/abs/1608.00367.
"""

from __future__ import annotations

import torch
from torch import nn

from hpc_sr.models.blocks import init_he_uniform
from hpc_sr.models.facts import Facts
from hpc_sr.models.picture_options import FSRCNNOptions
from hpc_sr.models.reach import Reach
from hpc_sr.models.single_image import OfColours
from hpc_sr.tasks import Task

_LAST_PX, _LAST_STD = 9, 0.001


class FSRCNN(OfColours):
    """FSRCNN(56, 12, 4) of one channel has 12,809 parameters (12,464 weights and 112 slopes in x3), of three 24,683.

    Every convolution but the last is followed by PReLU, a slope for each channel. A small pixel's place in the large
    picture is the pixel at `crop_px` before its 9 x 9 px.
    """

    def __init__(self, task: Task, options: FSRCNNOptions, facts: Facts):
        scale, crop_px = task.scale, options.crop_px
        beyond_px = max((scale - 1 + crop_px) // scale, (_LAST_PX - 1 - crop_px) // scale)
        reach = Reach((2 + options.maps + beyond_px) * scale, 0)
        super().__init__(task, options, facts, reach, -(-options.width // scale**2))

        def layer(channels_in: int, channels_out: int, kernel_px: int) -> nn.Sequential:
            padding = kernel_px // 2
            convolution = nn.Conv2d(channels_in, channels_out, kernel_px, padding=padding, padding_mode=options.padding)
            return nn.Sequential(convolution, nn.PReLU(channels_out))

        self.features = layer(self.channels, options.width, 5)
        self.shrink = layer(options.width, options.narrow, 1)
        self.maps = nn.Sequential(*(layer(options.narrow, options.narrow, 3) for _ in range(options.maps)))
        self.expand = layer(options.narrow, options.width, 1)
        extra_px = scale - _LAST_PX + 2 * crop_px
        self.last = nn.ConvTranspose2d(options.width, self.channels, _LAST_PX, scale, crop_px, extra_px)
        init_he_uniform(self)
        assert self.last.bias is not None
        nn.init.normal_(self.last.weight, std=_LAST_STD)
        nn.init.zeros_(self.last.bias)

    def finer(self, coarse_BChw: torch.Tensor) -> torch.Tensor:
        return self.last(self.expand(self.maps(self.shrink(self.features(coarse_BChw)))))
