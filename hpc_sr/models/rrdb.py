"""RRDBNet, the generator of ESRGAN: dense blocks within residuals within residuals, without normalisation.

Source: Wang et al. 2018, https://arxiv.org/abs/1809.00219.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from hpc_sr.models.blocks import conv3
from hpc_sr.models.facts import Facts
from hpc_sr.models.filters import nearest
from hpc_sr.models.options import RRDBOptions
from hpc_sr.models.reach import Reach
from hpc_sr.models.single_image import SingleImage
from hpc_sr.tasks import Task

_SLOPE, _RESIDUAL_SCALE, _INIT_SCALE = 0.2, 0.2, 0.1


class RRDBNet(SingleImage):
    """23 blocks of 64 channels that grow by 32 have 16,697,987 parameters, at x4. Names are those of BasicSR."""

    def __init__(self, task: Task, options: RRDBOptions, facts: Facts):
        width = options.width
        # On the small picture the first and the last convolution of the trunk and 15 a block; then one on pixels of
        # two target pixels, and three on target pixels.
        super().__init__(task, facts, Reach((2 + 15 * options.blocks) * task.scale, 2 + 3), width)
        self.conv_first = conv3(self.bands, width)
        self.body = nn.Sequential(*(_RRDB(width, options.growth) for _ in range(options.blocks)))
        self.conv_body, self.conv_up1, self.conv_up2, self.conv_hr = (conv3(width, width) for _ in range(4))
        self.conv_last = conv3(width, self.bands)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                _init_small(part)

    def finer(self, coarse_BChw: torch.Tensor) -> torch.Tensor:
        features = self.conv_first(coarse_BChw)
        features = features + self.conv_body(self.body(features))
        features = _leaky(self.conv_up1(nearest(features, 2)))
        features = _leaky(self.conv_up2(nearest(features, 2)))
        return self.conv_last(_leaky(self.conv_hr(features)))


class _RRDB(nn.Module):
    """x + 0.2 of what three dense blocks make of x."""

    def __init__(self, width: int, growth: int):
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (_DenseBlock(width, growth) for _ in range(3))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        return torch.add(x_BCHW, self.rdb3(self.rdb2(self.rdb1(x_BCHW))), alpha=_RESIDUAL_SCALE)


class _DenseBlock(nn.Module):
    """Five convolutions, each on all that is there: `growth` channels more each time; x + 0.2 of the last."""

    def __init__(self, width: int, growth: int):
        super().__init__()
        self.conv1, self.conv2, self.conv3, self.conv4 = (conv3(width + k * growth, growth) for k in range(4))
        self.conv5 = conv3(width + 4 * growth, width)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        seen = x_BCHW
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat([seen, _leaky(convolution(seen))], 1)
        return torch.add(x_BCHW, self.conv5(seen), alpha=_RESIDUAL_SCALE)


def _leaky(x_BCHW: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu(x_BCHW, _SLOPE, inplace=True)


def _init_small(convolution: nn.Conv2d) -> None:
    """Initialise a convolution Kaiming-normal times 0.1, with zero bias."""
    assert convolution.bias is not None
    nn.init.kaiming_normal_(convolution.weight)
    nn.init.zeros_(convolution.bias)
    with torch.no_grad():
        convolution.weight *= _INIT_SCALE
