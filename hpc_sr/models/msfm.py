"""The generator of MSFM-GAN: an encoder and a decoder, joined by sub-networks that make the encoder's maps finer.

Source: Zhou et al., Signal Processing: Image Communication, 2019. It has widths and the outer kernel in a figure; those
here are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import nn

from hpc_sr.errors import ShapeError
from hpc_sr.models.blocks import SUBPIXEL_FACTORS, conv3, init_he_uniform
from hpc_sr.models.facts import Facts
from hpc_sr.models.picture_options import MSFMOptions
from hpc_sr.models.reach import Reach
from hpc_sr.models.single_image import SingleImage
from hpc_sr.models.spans import Span, around, both, coarser, farthest_px, pooled
from hpc_sr.tasks import Task

Activation = Callable[[], nn.Module]
#: The encoder halves its map twice.
_POOLED_PX = 4
#: Of the LeakyReLUs, where there is a base.
_SLOPE = 0.2


class MSFM(SingleImage):
    """Of 64 channels it has 11,945,027 parameters at x4, of 32 channels 2,995,747.

    Encoder stage k and decoder stage k work on grids 2^(k-1) times coarser than the given picture and the result.
    On a bicubic base it begins as its base, and has LeakyReLUs: what is found is 0 on average, and ReLUs die of that.
    """

    def __init__(self, task: Task, options: MSFMOptions, facts: Facts):
        width, outer_px, factors = options.width, options.outer_px, SUBPIXEL_FACTORS[task.scale]
        seen = partial(_seen, outer_px=outer_px // 2, factors=factors)
        reach_px = farthest_px(seen, task.scale, _POOLED_PX * task.scale)
        super().__init__(task, facts, Reach(reach_px, 0), 2 * width, options.base)
        made = partial(nn.LeakyReLU, _SLOPE) if self.on_bicubic else nn.ReLU
        convs, enlarged, mapping = partial(_convs, made), partial(_finer, made), partial(_mapping, made, factors)
        first = nn.Conv2d(self.bands, width, outer_px, padding=outer_px // 2)
        last = nn.Conv2d(width, self.bands, outer_px, padding=outer_px // 2)
        self.encoder1 = nn.Sequential(first, made(), *convs(width, width))
        self.encoder2 = nn.Sequential(nn.MaxPool2d(2), *convs(width, 2 * width, 2 * width))
        self.encoder3 = nn.Sequential(nn.MaxPool2d(2), *convs(2 * width, 4 * width, 4 * width, 4 * width))
        self.mapping1, self.mapping2, self.mapping3 = (mapping(k * width) for k in (1, 2, 4))
        self.decoder3 = nn.Sequential(*convs(4 * width, 4 * width, 4 * width), *enlarged(4 * width, 2 * width, 2))
        self.decoder2 = nn.Sequential(*convs(4 * width, 2 * width, 2 * width), *enlarged(2 * width, width, 2))
        self.decoder1 = nn.Sequential(*convs(2 * width, width, width), last)
        init_he_uniform(self)
        if self.on_bicubic:
            nn.init.zeros_(last.weight)

    @property
    def multiple_px(self) -> int:
        return math.lcm(super().multiple_px, _POOLED_PX * self.scale)

    def finer(self, coarse_BChw: torch.Tensor) -> torch.Tensor:
        height, width = coarse_BChw.shape[2:]
        if height % _POOLED_PX or width % _POOLED_PX:
            raise ShapeError(
                f"{height} x {width} px is no multiple of {_POOLED_PX}, which the network's pooling needs",
                cure=f"give a picture whose sides are multiples of {_POOLED_PX}",
            )
        first = self.encoder1(coarse_BChw)
        second = self.encoder2(first)
        third = self.encoder3(second)
        features = self.decoder3(self.mapping3(third))
        features = self.decoder2(torch.cat([features, self.mapping2(second)], 1))
        return self.decoder1(torch.cat([features, self.mapping1(first)], 1))


def _convs(made: Activation, *widths: int) -> list[nn.Module]:
    return [part for ends in pairwise(widths) for part in (conv3(*ends), made())]


def _finer(made: Activation, before: int, channels: int, factor: int) -> tuple[nn.Module, ...]:
    """Return a sub-pixel convolution: a map `factor` times finer, of so many channels."""
    return conv3(before, channels * factor**2), nn.PixelShuffle(factor), made()


def _mapping(made: Activation, factors: tuple[int, ...], width: int) -> nn.Sequential:
    """Return what makes a map of the encoder `scale` times finer, for the decoder's stage of its number."""
    enlarged = (part for factor in factors for part in _finer(made, width, width, factor))
    return nn.Sequential(*_convs(made, width, width), *enlarged)


def _seen(span: Span, outer_px: int, factors: tuple[int, ...]) -> Span:
    """Return which pixels of the given picture those of the result depend on."""
    decoder1 = around(span, outer_px + 2)
    decoder2 = around(coarser(decoder1, 2), 1 + 2)
    decoder3 = around(coarser(decoder2, 2), 1 + 2)
    mapped1, mapped2, mapped3 = (_before_mapping(span, factors) for span in (decoder1, decoder2, decoder3))
    encoder2 = both(mapped2, pooled(around(mapped3, 3), 2))
    encoder1 = both(mapped1, pooled(around(encoder2, 2), 2))
    return around(encoder1, 1 + outer_px)


def _before_mapping(span: Span, factors: tuple[int, ...]) -> Span:
    for factor in reversed(factors):
        span = around(coarser(span, factor), 1)
    return around(span, 1)
