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
from hpc_sr.models.picture_options import DenseOptions
from hpc_sr.models.reach import Reach
from hpc_sr.models.single_image import SingleImage
from hpc_sr.tasks import Task

SLOPE = 0.2
_RESIDUAL_SCALE, _INIT_SCALE = 0.2, 0.1


class RRDBNet(SingleImage):
    """23 blocks of 64 channels that grow by 32 have 16,697,987 parameters, at x4. Names are those of BasicSR."""

    def __init__(self, task: Task, options: DenseOptions, facts: Facts):
        width = options.width
        # On the small picture the first and the last convolution of the trunk and 15 a block; then one on pixels of
        # two target pixels, and three on target pixels.
        super().__init__(task, facts, Reach((2 + 15 * options.blocks) * task.scale, 2 + 3), width, options.base)
        self.conv_first = conv3(self.bands, width)
        self.body = nn.Sequential(*(_RRDB(width, options.growth) for _ in range(options.blocks)))
        self.conv_body, self.conv_up1, self.conv_up2, self.conv_hr = (conv3(width, width) for _ in range(4))
        self.conv_last = conv3(width, self.bands)
        init_small(self)

    def finer(self, coarse_BChw: torch.Tensor) -> torch.Tensor:
        return self.quadrupled(self.doubled(self.features(coarse_BChw)))

    def features(self, coarse_BChw: torch.Tensor) -> torch.Tensor:
        """Return what the trunk makes of the small picture, (B, width, h, w)."""
        features = self.conv_first(coarse_BChw)
        return features + self.conv_body(self.body(features))

    def doubled(self, features_BChw: torch.Tensor) -> torch.Tensor:
        """Return the trunk's features on pixels half as large."""
        return _leaky(self.conv_up1(nearest(features_BChw, 2)))

    def quadrupled(self, doubled_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the picture on pixels a quarter as large, made of `doubled` features."""
        features = _leaky(self.conv_up2(nearest(doubled_BCHW, 2)))
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
    return F.leaky_relu(x_BCHW, SLOPE, inplace=True)


def init_small(module: nn.Module) -> None:
    """Initialise every convolution Kaiming-normal times 0.1, with zero bias."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            assert part.bias is not None
            nn.init.kaiming_normal_(part.weight)
            nn.init.zeros_(part.bias)
            with torch.no_grad():
                part.weight *= _INIT_SCALE
