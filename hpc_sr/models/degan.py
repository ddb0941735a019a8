"""DEGAN: residual blocks with attention on the small picture, then a U-Net with a time step on the enlarged map.

Source: Li et al. 2025, https://doi.org/10.3389/feart.2025.1578321. There the U-Net is a diffusion module; it runs once.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from hpc_sr.errors import ShapeError
from hpc_sr.models.attention import CBAM, Encoder
from hpc_sr.models.blocks import conv3, subpixel
from hpc_sr.models.draws import gaussian, uniform
from hpc_sr.models.facts import Facts
from hpc_sr.models.generator import Outputs
from hpc_sr.models.picture_options import DEGANOptions
from hpc_sr.models.single_image import SingleImage
from hpc_sr.tasks import Task

#: The U-Net halves its map twice.
_UNET_PX = 4
_NOISE_SHARE = 0.1
#: Keep these numbers apart from others that are made of the same draws.
_TIME, _NOISE = 0x5DE6A01, 0x5DE6A02


class DEGAN(SingleImage):
    """16 blocks of 128 channels have 8,305,255 parameters at x4, 7,714,918 at x2.

    Without the transformer and with `time_align`: 7,581,287 and 6,990,950, the counts of the publication. The last
    layer's tanh spans -1..1, which is black to white: 0 is grey.
    """

    def __init__(self, task: Task, options: DEGANOptions, facts: Facts):
        width, stages = options.width, task.scale.bit_length() - 1
        super().__init__(task, facts, None, width, options.base)
        self.noisy = options.noise == "train"
        rising = [width // 8, width // 4, width // 2, width]
        self.first = _chain([self.bands, *rising])
        self.blocks = nn.Sequential(*(_Block(width) for _ in range(options.blocks)))
        self.trunk, self.trunk_norm = conv3(width, width), nn.BatchNorm2d(width)
        self.attention = CBAM(width)
        self.stages = nn.Sequential(*(subpixel(width, nn.PReLU()) for _ in range(stages)))
        self.unet = _UNet(options)
        self.last = _chain([*reversed(rising), self.bands])

    @property
    def own_base(self) -> float:
        return 0.5

    @property
    def multiple_px(self) -> int:
        return math.lcm(super().multiple_px, _UNET_PX)

    def forward(self, *inputs_BCHW: torch.Tensor, draws: torch.Tensor | None = None) -> Outputs:
        (coarse_BCHW,) = inputs_BCHW
        coarse_BChw = coarse_BCHW.contiguous(memory_format=torch.channels_last)
        return Outputs((self.added(coarse_BChw, self.finer(coarse_BChw, draws), self.scale),))

    def finer(self, coarse_BChw: torch.Tensor, draws: torch.Tensor | None = None) -> torch.Tensor:
        height, width = (side * self.scale for side in coarse_BChw.shape[2:])
        if height % _UNET_PX or width % _UNET_PX:
            raise ShapeError(
                f"a result of {height} x {width} px is no multiple of {_UNET_PX}",
                cure=f"give a picture whose sides are multiples of {_UNET_PX // self.scale}",
            )
        features = self.first(coarse_BChw)
        features = features + self.trunk_norm(self.trunk(self.blocks(features)))
        features = self.stages(self.attention(features))
        return torch.tanh(self.last(self.unet(*_disturbed(features, draws)))) / 2


def _disturbed(x_BCHW: torch.Tensor, draws: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return x + 0.1 t e and t (B, 1): t uniform in [0, 1), e Gaussian of deviation 1; x and 0 without draws."""
    if draws is None:
        return x_BCHW, x_BCHW.new_zeros(x_BCHW.shape[0], 1)
    times = uniform(draws ^ _TIME, 1)
    # A sample at a time: the whole numbers that they are made of are several times as large as the map.
    noise = torch.cat([gaussian(draw, *x_BCHW.shape[1:]) for draw in (draws ^ _NOISE).split(1)])
    return x_BCHW + (_NOISE_SHARE * times[:, :, None, None] * noise).to(x_BCHW.dtype), times


class _Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = (conv3(width, width) for _ in range(2))
        self.first_norm, self.second_norm = (nn.BatchNorm2d(width) for _ in range(2))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.first_norm(self.first(x_BCHW)), inplace=True)
        return x_BCHW + self.second_norm(self.second(inner))


class _UNet(nn.Module):
    """A map of `width` channels seen on grids 1, 2 and 4 times coarser; the time step is added to the coarsest."""

    def __init__(self, options: DEGANOptions):
        super().__init__()
        width, own = options.width, options.unet_width
        self.down1 = conv3(width, own)
        self.down2 = nn.Conv2d(own, 2 * own, 3, stride=2, padding=1)
        self.down3 = nn.Conv2d(2 * own, 4 * own, 3, stride=2, padding=1)
        self.time = nn.Sequential(nn.Linear(1, 4 * own), nn.ReLU(), nn.Linear(4 * own, 4 * own))
        if options.time_align:
            self.time.append(nn.Linear(4 * own, 4 * own))
        self.encoder = Encoder(4 * own, options.dropout) if options.transformer else None
        self.up2 = nn.ConvTranspose2d(4 * own, 2 * own, 4, stride=2, padding=1)
        self.up1 = nn.ConvTranspose2d(2 * own, own, 4, stride=2, padding=1)
        self.skip2, self.skip1 = nn.Conv2d(2 * own, 2 * own, 1), nn.Conv2d(own, own, 1)
        self.last = conv3(own, width)

    def forward(self, x_BCHW: torch.Tensor, times_B1: torch.Tensor) -> torch.Tensor:
        fine = F.relu(self.down1(x_BCHW))
        middle = F.relu(self.down2(fine))
        coarse = F.relu(self.down3(middle)) + self.time(times_B1)[:, :, None, None]
        if self.encoder is not None:
            coarse = self.encoder(coarse)
        middle = F.relu(self.up2(coarse)) + self.skip2(middle)
        fine = F.relu(self.up1(middle)) + self.skip1(fine)
        return self.last(fine)


def _chain(widths: list[int]) -> nn.Sequential:
    return nn.Sequential(*(conv3(*ends) for ends in pairwise(widths)))
