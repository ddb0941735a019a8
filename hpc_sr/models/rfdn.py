"""RFDN: distillation blocks of residual convolutions with enhanced spatial attention (ESA), on the small picture.

Source: Liu et al. 2020, https://arxiv.org/abs/2009.11551, in the sizes of the authors' code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from hpc_sr.models.attention import ESA, ESA_GRAPH_PX, check_patches
from hpc_sr.models.blocks import conv3
from hpc_sr.models.distillation import SLOPE, Distilling
from hpc_sr.models.facts import Facts
from hpc_sr.models.picture_options import RFDNOptions
from hpc_sr.tasks import Task


class RFDN(Distilling):
    """4 blocks of 50 channels have 433,448 parameters at x4, 423,977 at x3 and 417,212 at x2.

    Each block's attention is a small map stretched over the picture, whatever its size.
    """

    def __init__(self, task: Task, options: RFDNOptions, facts: Facts):
        check_patches(options.family, task.scale, facts.patch_px)
        super().__init__(task, options, facts, _Block)

    @property
    def least_px(self) -> int:
        return ESA_GRAPH_PX * self.scale


class _Block(nn.Module):
    """What three residual convolutions and a last one see: of each half the channels kept, in attention."""

    def __init__(self, width: int):
        super().__init__()
        self.kept = nn.ModuleList(nn.Conv2d(width, width // 2, 1) for _ in range(3))
        self.refined = nn.ModuleList(conv3(width, width) for _ in range(3))
        self.last = conv3(width, width // 2)
        self.fuse = nn.Conv2d(4 * (width // 2), width, 1)
        self.attention = ESA(width)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        found, seen = [], x_BCHW
        for keep, refine in zip(self.kept, self.refined, strict=True):
            found.append(_leaky(keep(seen)))
            seen = _leaky(refine(seen) + seen)
        found.append(_leaky(self.last(seen)))
        return self.attention(self.fuse(torch.cat(found, 1)))


def _leaky(x_BCHW: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu(x_BCHW, SLOPE)
