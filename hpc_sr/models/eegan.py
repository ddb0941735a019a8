"""EEGAN: a picture made finer by ultra-dense blocks, then its edges taken out, cleaned and put back.

Source: Jiang et al. 2019, https://doi.org/10.1109/TGRS.2019.2902431.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from hpc_sr.models.blocks import SUBPIXEL_FACTORS, conv3, subpixel
from hpc_sr.models.facts import Facts
from hpc_sr.models.filters import at_least_float32, bicubic
from hpc_sr.models.generator import Outputs
from hpc_sr.models.picture_options import EEGANOptions
from hpc_sr.models.reach import Reach
from hpc_sr.models.single_image import SingleImage
from hpc_sr.models.spans import Span, around, before_subpixel, both, coarser, farthest_px, strided
from hpc_sr.tasks import Task

_SCALE, _SLOPE = 4, 0.2
#: Streams of an ultra-dense block, and how often they exchange what they have.
_STREAMS, _ROUNDS = 3, 3


class EEGAN(SingleImage):
    """6 and 3 blocks of 64 channels have 7,395,078 parameters, at x4.

    The extra `base` is the picture before its edges are mended. With zeros as `head` it is the bicubic enlargement.
    """

    def __init__(self, task: Task, options: EEGANOptions, facts: Facts):
        width = options.width
        seen = partial(_seen, blocks=options.blocks, edge_blocks=options.edge_blocks)
        super().__init__(task, facts, Reach(farthest_px(seen, task.scale, task.scale), 0), width)
        self.first = nn.Sequential(_conv(self.bands, 2 * width), _conv(2 * width, width))
        self.blocks = nn.Sequential(*(_UltraDense(width) for _ in range(options.blocks)))
        self.stages, self.edge_stages = (
            nn.Sequential(*(subpixel(width, _leaky()) for _ in SUBPIXEL_FACTORS[task.scale])) for _ in range(2)
        )
        self.head, self.edge_head = (conv3(width, self.bands) for _ in range(2))
        self.edges = nn.Sequential(
            _conv(self.bands, width),
            _conv(width, width),
            _conv(width, 2 * width, stride=2),
            _conv(2 * width, 2 * width),
            _conv(2 * width, 4 * width, stride=2),
            _conv(4 * width, width),
        )
        self.mask = nn.Sequential(_conv(width, width), _conv(width, 2 * width), _conv(2 * width, 4 * width))
        self.edge_blocks = nn.Sequential(*(_UltraDense(width) for _ in range(options.edge_blocks)))
        self.widened, self.narrowed = _conv(width, 4 * width), _conv(4 * width, width)

    def forward(self, *inputs_BCHW: torch.Tensor) -> Outputs:
        (coarse_BChw,) = inputs_BCHW
        base = self.base(coarse_BChw)
        return Outputs((self.mended(base),), {"base": base})

    def base(self, coarse_BChw: torch.Tensor) -> torch.Tensor:
        """Return the bicubic enlargement with the detail that the features add to it, (B, C, 4 h, 4 w).

        Layers work in -1..1, which is black to white.
        """
        features = self.first((2 * coarse_BChw - 1).contiguous(memory_format=torch.channels_last))
        detail = self.head(self.stages(self.blocks(features)))
        return bicubic(at_least_float32(coarse_BChw), self.scale) + detail / 2

    def mended(self, base_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the picture with its edges replaced by what is made of them."""
        edges = laplacian(base_BCHW)
        features = self.edges((2 * edges).contiguous(memory_format=torch.channels_last))
        weights = torch.sigmoid(self.mask(features))
        features = self.widened(self.edge_blocks(features))
        clean = self.edge_head(self.edge_stages(self.narrowed(features * weights + features)))
        return base_BCHW - edges + clean / 2


def laplacian(x_BCHW: torch.Tensor) -> torch.Tensor:
    """Return eight times each pixel minus its eight neighbours, band by band; borders are mirrored."""
    return 9 * x_BCHW - _three_down(_three_down(x_BCHW).mT).mT


def _three_down(x_BCHW: torch.Tensor) -> torch.Tensor:
    """Return the sum of each pixel and its neighbours above and below."""
    # Of slices: the gradient of an indexed selection, as in filters.py, has no fixed order of sums on a GPU.
    padded = torch.cat([x_BCHW[..., :1, :], x_BCHW, x_BCHW[..., -1:, :]], dim=-2)
    return padded[..., :-2, :] + x_BCHW + padded[..., 2:, :]


class _UltraDense(nn.Module):
    """x + what streams make of x that exchange all they have with each other."""

    def __init__(self, width: int):
        super().__init__()
        self.rounds = nn.ModuleList(_Exchange(width) for _ in range(_ROUNDS))
        self.last = _conv(_STREAMS * width, width)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        streams = [x_BCHW] * _STREAMS
        for exchange in self.rounds:
            streams = exchange(streams)
        return x_BCHW + self.last(torch.cat(streams, 1))


class _Exchange(nn.Module):
    """A convolution of each stream; each then sees those of all streams and itself."""

    def __init__(self, width: int):
        super().__init__()
        self.own = nn.ModuleList(_conv(width, width) for _ in range(_STREAMS))
        self.merge = nn.ModuleList(_conv((_STREAMS + 1) * width, width, kernel=1) for _ in range(_STREAMS))

    def forward(self, streams: list[torch.Tensor]) -> list[torch.Tensor]:
        shared = [convolution(stream) for convolution, stream in zip(self.own, streams, strict=True)]
        return [merge(torch.cat([*shared, stream], 1)) for merge, stream in zip(self.merge, streams, strict=True)]


def _leaky() -> nn.LeakyReLU:
    return nn.LeakyReLU(_SLOPE, inplace=True)


def _conv(channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2)
    return nn.Sequential(layer, _leaky())


def _seen(span: Span, blocks: int, edge_blocks: int) -> Span:
    """Return which pixels of the given picture those of the result depend on."""
    # A block looks as far as its rounds and its last convolution.
    narrowed = around(
        before_subpixel(around(span, 1), SUBPIXEL_FACTORS[_SCALE]), 1 + 1 + (_ROUNDS + 1) * edge_blocks + 1
    )
    halved = around(strided(narrowed, 3, 2, 1), 1)
    base = around(strided(halved, 3, 2, 1), 1 + 1 + 1)
    features = around(before_subpixel(around(base, 1), SUBPIXEL_FACTORS[_SCALE]), (_ROUNDS + 1) * blocks + 2)
    return both(features, around(coarser(base, _SCALE), 2))
