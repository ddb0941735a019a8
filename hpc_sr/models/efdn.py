"""EFDN: distillation cells with enhanced spatial attention (ESA), fused in pairs, on the small picture.

Source: Wang 2022, https://arxiv.org/abs/2204.08759. This is the published network in use. The publication trains
each 3x3 convolution of a cell as a sum of branches that detect edges and merges them afterwards; here it is one
convolution in training too.
"""

from __future__ import annotations

import torch
from torch import nn

from hpc_sr.models.attention import ESA, ESA_GRAPH_PX, check_patches
from hpc_sr.models.blocks import conv3
from hpc_sr.models.facts import Facts
from hpc_sr.models.picture_options import EFDNOptions
from hpc_sr.models.single_image import SingleImage
from hpc_sr.tasks import Task

#: The cell whose output is fused with that of the second, the third and the fourth: as in the published network, the
#: last is fused with the second again.
_FUSED_WITH = (0, 1, 1)


class EFDN(SingleImage):
    """Four cells of 48 channels have 276,192 parameters at x4, 267,099 at x3 and 260,604 at x2.

    Each cell's attention is a small map stretched over the picture, whatever its size: so an output pixel depends on
    the size of what the network is given, and tiles are not what the whole picture would give.
    """

    def __init__(self, task: Task, options: EFDNOptions, facts: Facts):
        check_patches(options.family, task.scale, facts.patch_px)
        width = options.width
        super().__init__(task, facts, None, -(-2 * width // task.scale**2), options.base)
        self.head = conv3(self.bands, width)
        self.cells = nn.ModuleList(_Cell(width) for _ in range(1 + len(_FUSED_WITH)))
        self.local_fuse = nn.ModuleList(nn.Conv2d(2 * width, width, 1) for _ in _FUSED_WITH)
        self.tail = nn.Sequential(conv3(width, self.bands * task.scale**2), nn.PixelShuffle(task.scale))

    @property
    def least_px(self) -> int:
        return ESA_GRAPH_PX * self.scale

    def finer(self, coarse_BChw: torch.Tensor) -> torch.Tensor:
        first = self.head(coarse_BChw)
        fused = self.cells[0](first)
        found = [fused]
        for number, (fuse, earlier) in enumerate(zip(self.local_fuse, _FUSED_WITH, strict=True), start=1):
            found.append(self.cells[number](fused))
            fused = fuse(torch.cat([found[earlier], found[-1]], 1))
        return self.tail(fused + first)


class _Cell(nn.Module):
    """x + attention over what a 1x1 and two 3x3 convolutions find, half the channels of each kept."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Sequential()
        self.conv1.add_module("conv1x1", nn.Conv2d(width, width, 1))
        self.conv1.add_module("act", nn.PReLU(width))
        self.conv2, self.conv3 = _edge(width), _edge(width)
        self.branch = nn.ModuleList(nn.Conv2d(width, width // 2, 1) for _ in range(4))
        self.fuse = nn.Conv2d(2 * width, width, 1)
        self.att = ESA(width)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        found = [x_BCHW]
        for stage in (self.conv1, self.conv2, self.conv3):
            found.append(stage(found[-1]))
        kept = [branch(features) for branch, features in zip(self.branch, found, strict=True)]
        return x_BCHW + self.att(self.fuse(torch.cat(kept, 1)))


def _edge(width: int) -> nn.Sequential:
    stage = nn.Sequential()
    stage.add_module("rep_conv", conv3(width, width))
    stage.add_module("act", nn.PReLU(width))
    return stage
