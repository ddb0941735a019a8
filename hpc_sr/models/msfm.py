"""The generator of MSFM-GAN: an encoder and a decoder, joined by sub-networks that make the encoder's maps finer.

Source: Zhou et al., Signal Processing: Image Communication, 2019. It has widths and the outer kernel in a figure; those
here are ours.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn

from hpc_sr.errors import ShapeError
from hpc_sr.models.blocks import conv3, init_he_uniform
from hpc_sr.models.facts import Facts
from hpc_sr.models.options import MSFMOptions
from hpc_sr.models.reach import Reach
from hpc_sr.models.single_image import SingleImage
from hpc_sr.tasks import Task

#: The encoder halves its map twice.
_POOLED_PX = 4
#: What the sub-pixel convolutions of a mapping multiply a map's sides by, one after the other.
_FACTORS = {2: (2,), 3: (3,), 4: (2, 2)}


class MSFM(SingleImage):
    """Of 64 channels it has 11,945,027 parameters at x4, of 32 channels 2,995,747.

    Encoder stage k and decoder stage k work on grids 2^(k-1) times coarser than the given picture and the result.
    """

    def __init__(self, task: Task, options: MSFMOptions, facts: Facts):
        width, outer_px, factors = options.width, options.outer_px, _FACTORS[task.scale]
        reach = Reach(_farthest_px(task.scale, outer_px // 2, factors), 0)
        super().__init__(task, facts, reach, 2 * width)
        first = nn.Conv2d(self.bands, width, outer_px, padding=outer_px // 2)
        last = nn.Conv2d(width, self.bands, outer_px, padding=outer_px // 2)
        self.encoder1 = nn.Sequential(first, nn.ReLU(), *_convs(width, width))
        self.encoder2 = nn.Sequential(nn.MaxPool2d(2), *_convs(width, 2 * width, 2 * width))
        self.encoder3 = nn.Sequential(nn.MaxPool2d(2), *_convs(2 * width, 4 * width, 4 * width, 4 * width))
        self.mapping1, self.mapping2, self.mapping3 = (_mapping(k * width, factors) for k in (1, 2, 4))
        self.decoder3 = nn.Sequential(*_convs(4 * width, 4 * width, 4 * width), *_finer(4 * width, 2 * width, 2))
        self.decoder2 = nn.Sequential(*_convs(4 * width, 2 * width, 2 * width), *_finer(2 * width, width, 2))
        self.decoder1 = nn.Sequential(*_convs(2 * width, width, width), last)
        init_he_uniform(self)

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


def _convs(*widths: int) -> list[nn.Module]:
    return [part for ends in pairwise(widths) for part in (conv3(*ends), nn.ReLU())]


def _finer(before: int, channels: int, factor: int) -> tuple[nn.Module, ...]:
    """Return a sub-pixel convolution: a map `factor` times finer, of so many channels."""
    return conv3(before, channels * factor**2), nn.PixelShuffle(factor), nn.ReLU()


def _mapping(width: int, factors: tuple[int, ...]) -> nn.Sequential:
    """Return what makes a map of the encoder `scale` times finer, for the decoder's stage of its number."""
    return nn.Sequential(*_convs(width, width), *(part for factor in factors for part in _finer(width, width, factor)))


#: The first and the last of the pixels along an axis that something depends on.
_Span = tuple[int, int]


def _farthest_px(scale: int, outer_px: int, factors: tuple[int, ...]) -> int:
    """Return how many target pixels lie at most between an output pixel and one that it depends on.

    Where a pixel lies among those that are pooled together decides it, so all places are looked at. `outer_px` is how
    far the outer kernels look.
    """
    farthest = 0
    for place in range(_POOLED_PX * scale):
        first, last = _seen(place, outer_px, factors)
        farthest = max(farthest, place - (first * scale + scale - 1), last * scale - place)
    return farthest


def _seen(place: int, outer_px: int, factors: tuple[int, ...]) -> _Span:
    """Return which pixels of the given picture an output pixel depends on: back through the layers."""
    decoder1 = _around((place, place), outer_px + 2)
    decoder2 = _around(_coarser(decoder1, 2), 1 + 2)
    decoder3 = _around(_coarser(decoder2, 2), 1 + 2)
    mapped1, mapped2, mapped3 = (_before_mapping(span, factors) for span in (decoder1, decoder2, decoder3))
    encoder2 = _both(mapped2, _before_pooling(_around(mapped3, 3)))
    encoder1 = _both(mapped1, _before_pooling(_around(encoder2, 2)))
    return _around(encoder1, 1 + outer_px)


def _before_mapping(span: _Span, factors: tuple[int, ...]) -> _Span:
    for factor in reversed(factors):
        span = _around(_coarser(span, factor), 1)
    return _around(span, 1)


def _around(span: _Span, px: int) -> _Span:
    return span[0] - px, span[1] + px


def _coarser(span: _Span, factor: int) -> _Span:
    return span[0] // factor, span[1] // factor


def _before_pooling(span: _Span) -> _Span:
    return 2 * span[0], 2 * span[1] + 1


def _both(span: _Span, other: _Span) -> _Span:
    return min(span[0], other[0]), max(span[1], other[1])
