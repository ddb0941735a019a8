"""HSENet: convolutions among which every place asks all others what is like it, on two grids.

Source: Lei & Shi 2021, https://ieeexplore.ieee.org/document/9400474, in the layers of the authors' code.
"""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from hpc_sr.models.attention import NonLocal
from hpc_sr.models.blocks import SUBPIXEL_FACTORS, bilinear, conv3, subpixel_chain
from hpc_sr.models.colours import UC_MERCED_MEAN
from hpc_sr.models.facts import Facts
from hpc_sr.models.picture_options import HSENetOptions
from hpc_sr.models.reach import Reach
from hpc_sr.models.single_image import OfMeanColour
from hpc_sr.models.spans import Span, around, before_subpixel, both, coarser, farthest_px, pooled, within_windows
from hpc_sr.models.windows import check_sides, check_windows
from hpc_sr.tasks import Task

#: How much coarser the second grid is.
_COARSER = 2


class HSENet(OfMeanColour):
    """10 modules of 64 channels have 5,433,347 parameters at x4, 5,470,275 at x3 and 5,285,635 at x2.

    Places ask within windows of a training patch, from the upper-left corner: more of them than in training would be
    another operator.
    """

    def __init__(self, task: Task, options: HSENetOptions, facts: Facts):
        width, scale = options.width, task.scale
        check_windows(options.family, facts.patch_px, _COARSER * scale)
        self.window_px = facts.patch_px // scale
        seen = partial(_seen, scale=scale, modules=options.modules, window_px=self.window_px)
        reach = Reach(farthest_px(seen, scale, facts.patch_px), 0)
        super().__init__(task, facts, reach, width, options.base, UC_MERCED_MEAN)
        self.first = conv3(self.bands, width)
        self.body = nn.ModuleList(_Module(width, self.window_px) for _ in range(options.modules))
        self.upsample, self.last = subpixel_chain(width, scale), conv3(width, self.bands)

    @property
    def multiple_px(self) -> int:
        return math.lcm(super().multiple_px, self.scale * self.window_px)

    def finer(self, coarse_BChw: torch.Tensor) -> torch.Tensor:
        check_sides(coarse_BChw, _COARSER, self.window_px)
        first = features = self.first(coarse_BChw - self.mean)
        for module in self.body:
            features = module(features)
        return self.last(self.upsample(first + features))


class _Module(nn.Module):
    """x + convolutions around what two grids find: y + a convolution of y's likenesses, asked for by the coarser."""

    def __init__(self, width: int, window_px: int):
        super().__init__()
        self.head, self.tail = _convolutions(width, 2), _convolutions(width, 2)
        self.fine, self.coarse = _Likeness(width, window_px), _Likeness(width, window_px // _COARSER)
        self.across, self.merge = NonLocal(width, window_px), _convolutions(width, 1)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        seen = self.head(x_BCHW)
        # The authors stretch the coarse map from corner to corner: places would depend on the picture's size.
        coarse = bilinear(self.coarse(F.avg_pool2d(seen, _COARSER)), _COARSER)
        return x_BCHW + self.tail(seen + self.merge(self.across(self.fine(seen), coarse)))


class _Likeness(nn.Module):
    """x + a convolution of y' times a mask in 0..1: y a convolution of x, y' two of y, the mask y's likenesses."""

    def __init__(self, width: int, window_px: int):
        super().__init__()
        self.head, self.main, self.tail = (_convolutions(width, count) for count in (1, 2, 1))
        self.alike, self.mask = NonLocal(width, window_px), nn.Conv2d(width, width, 1)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        seen = self.head(x_BCHW)
        return x_BCHW + self.tail(self.main(seen) * torch.sigmoid(self.mask(self.alike(seen))))


def _convolutions(width: int, count: int) -> nn.Sequential:
    """Return convolutions, each with a ReLU after it."""
    return nn.Sequential(*(part for _ in range(count) for part in (conv3(width, width), nn.ReLU())))


def _seen(span: Span, scale: int, modules: int, window_px: int) -> Span:
    """Return which pixels of the given picture those of the result depend on."""
    span = before_subpixel(around(span, 1), SUBPIXEL_FACTORS[scale])
    for _ in range(modules):
        asking = around(span, 3)  # tail, merge
        fine = _seen_by_likeness(within_windows(asking, window_px), window_px)
        # Enlarged, a pixel lies between the coarse ones of its neighbours.
        coarse = _seen_by_likeness(coarser(around(asking, 1), _COARSER), window_px // _COARSER)
        span = around(both(fine, pooled(coarse, _COARSER)), 2)
    return around(span, 1)


def _seen_by_likeness(span: Span, window_px: int) -> Span:
    span = around(span, 1)
    return around(both(around(span, 2), within_windows(span, window_px)), 1)
