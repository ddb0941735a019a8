"""What IMDN and RFDN share: blocks one after the other on the small picture, fused, then one sub-pixel convolution."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from hpc_sr.models.blocks import conv3
from hpc_sr.models.facts import Facts
from hpc_sr.models.picture_options import IMDNOptions, RFDNOptions
from hpc_sr.models.single_image import SingleImage
from hpc_sr.tasks import Task

#: Of every LeakyReLU in these networks.
SLOPE = 0.05


class Distilling(SingleImage):
    """A network of blocks that `block` makes for a number of channels; each looks at the whole picture."""

    def __init__(self, task: Task, options: IMDNOptions | RFDNOptions, facts: Facts, block: Callable[[int], nn.Module]):
        width, count = options.width, options.blocks
        super().__init__(task, facts, None, -(-count * width // task.scale**2), options.base)
        self.first = conv3(self.bands, width)
        self.blocks = nn.ModuleList(block(width) for _ in range(count))
        self.fuse = nn.Sequential(nn.Conv2d(count * width, width, 1), nn.LeakyReLU(SLOPE))
        self.trunk = conv3(width, width)
        self.last = nn.Sequential(conv3(width, self.bands * task.scale**2), nn.PixelShuffle(task.scale))

    def finer(self, coarse_BChw: torch.Tensor) -> torch.Tensor:
        first = self.first(coarse_BChw)
        found = [first]
        for block in self.blocks:
            found.append(block(found[-1]))
        return self.last(first + self.trunk(self.fuse(torch.cat(found[1:], 1))))
