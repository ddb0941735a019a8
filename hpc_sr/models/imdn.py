"""IMDN: blocks that keep a quarter of their channels after each convolution, on the small picture.

Source: Hui et al. 2019, https://arxiv.org/abs/1909.11856.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from hpc_sr.models.attention import ContrastAttention
from hpc_sr.models.blocks import conv3
from hpc_sr.models.distillation import SLOPE, Distilling
from hpc_sr.models.facts import Facts
from hpc_sr.models.picture_options import IMDNOptions
from hpc_sr.tasks import Task


class IMDN(Distilling):
    """6 blocks of 64 channels have 715,176 parameters at x4, 703,059 at x3 and 694,404 at x2.

    Each block weighs its channels by how much they vary over the whole picture.
    """

    def __init__(self, task: Task, options: IMDNOptions, facts: Facts):
        super().__init__(task, options, facts, _Block)


class _Block(nn.Module):
    """x + what four convolutions find: a quarter of the channels of each kept, three quarters seen by the next."""

    def __init__(self, width: int):
        super().__init__()
        self.kept = width // 4
        seen = width - self.kept
        self.convs = nn.ModuleList(
            [conv3(width, width), conv3(seen, width), conv3(seen, width), conv3(seen, self.kept)]
        )
        self.attention = ContrastAttention(width)
        self.fuse = nn.Conv2d(width, width, 1)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        kept, seen = [], x_BCHW
        for convolution in self.convs[:-1]:
            found = F.leaky_relu(convolution(seen), SLOPE)
            kept.append(found[:, : self.kept])
            seen = found[:, self.kept :]
        kept.append(self.convs[-1](seen))
        return x_BCHW + self.fuse(self.attention(torch.cat(kept, 1)))
