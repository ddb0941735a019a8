"""What networks of single pictures have in common: one picture in, a finer one out, no base that is added to."""

from __future__ import annotations

import torch

from hpc_sr.models.colours import luma, rgb_of, with_luma, ycbcr
from hpc_sr.models.facts import Facts
from hpc_sr.models.filters import at_least_float32, bicubic
from hpc_sr.models.generator import Generator, Outputs
from hpc_sr.models.picture_options import ColourOptions
from hpc_sr.models.reach import Reach
from hpc_sr.tasks import Task


class SingleImage(Generator):
    """A network that makes a picture `scale` times finer: `finer` does it, in network units.

    `reach` is None for one that looks at all of its picture, `width` the channels of its widest map, spread over the
    target pixels.
    """

    def __init__(self, task: Task, facts: Facts, reach: Reach | None, width: int):
        super().__init__(task, facts, width)
        self.scale, self.bands, self.reach = task.scale, len(task.bands), reach

    def forward(self, *inputs_BCHW: torch.Tensor) -> Outputs:
        (coarse_BCHW,) = inputs_BCHW
        return Outputs((self.finer(coarse_BCHW.contiguous(memory_format=torch.channels_last)),))

    def finer(self, coarse_BChw: torch.Tensor) -> torch.Tensor:
        """Return (B, C, scale h, scale w)."""
        raise NotImplementedError


class OfColours(SingleImage):
    """A network that sees a picture's bands as they are, its Y, Cb and Cr, or its brightness alone: `mapped`.

    With brightness alone, Cb and Cr are made finer by bicubic interpolation, as published.
    """

    def __init__(self, task: Task, options: ColourOptions, facts: Facts, reach: Reach, width: int):
        super().__init__(task, facts, reach, width)
        self.colours = options.colours
        self.channels = 1 if options.colours == "y" else self.bands

    def finer(self, coarse_BChw: torch.Tensor) -> torch.Tensor:
        if self.colours == "rgb":
            return self.mapped(coarse_BChw)
        if self.colours == "ycbcr":
            return rgb_of(self.mapped(ycbcr(coarse_BChw)))
        enlarged = bicubic(at_least_float32(coarse_BChw), self.scale)
        return with_luma(enlarged, self.mapped(luma(coarse_BChw)))

    def mapped(self, coarse_BChw: torch.Tensor) -> torch.Tensor:
        """Return what the network makes of the `channels` that it sees, `scale` times finer."""
        raise NotImplementedError
