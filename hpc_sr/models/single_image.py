"""What networks of single pictures have in common: one picture in, a finer one out, as it is or added to a base."""

from __future__ import annotations

import torch

from hpc_sr.models.colours import luma, mean_colour, rgb_of, with_luma, ycbcr
from hpc_sr.models.facts import Facts
from hpc_sr.models.filters import BICUBIC_REACH_PX, at_least_float32, bicubic
from hpc_sr.models.generator import Generator, Outputs
from hpc_sr.models.picture_options import ColourOptions
from hpc_sr.models.reach import Reach
from hpc_sr.tasks import Task


class SingleImage(Generator):
    """A network that makes a picture `scale` times finer: what `finer` finds, added to a base in network units.

    As published the base is `own_base`, the same for every picture: 0, grey, or a mean colour. With `base: bicubic` it
    is the bicubic enlargement (a = -0.5) instead. So where the last layer gives zeros, the result is the base.

    `reach` is how far `finer` looks, None for one that looks at all of its picture; `width` the channels of its widest
    map, spread over the target pixels.
    """

    def __init__(self, task: Task, facts: Facts, reach: Reach | None, width: int, base: str = "none"):
        super().__init__(task, facts, width)
        self.scale, self.bands = task.scale, len(task.bands)
        self.on_bicubic = base == "bicubic"
        self.reach = reach.over(BICUBIC_REACH_PX * task.scale) if reach and self.on_bicubic else reach

    @property
    def own_base(self) -> torch.Tensor | float:
        """What the picture is where `finer` finds nothing, as published."""
        return 0.0

    def forward(self, *inputs_BCHW: torch.Tensor) -> Outputs:
        (coarse_BCHW,) = inputs_BCHW
        return Outputs((self.picture(coarse_BCHW.contiguous(memory_format=torch.channels_last)),))

    def picture(self, coarse_BChw: torch.Tensor) -> torch.Tensor:
        """Return the finer picture, (B, C, scale h, scale w)."""
        return self.added(coarse_BChw, self.finer(coarse_BChw), self.scale)

    def added(self, coarse_BChw: torch.Tensor, found_BCHW: torch.Tensor, scale: int) -> torch.Tensor:
        """Return what was found, `scale` times finer, added to the base."""
        base = bicubic(at_least_float32(coarse_BChw), scale) if self.on_bicubic else self.own_base
        return found_BCHW + base

    def finer(self, coarse_BChw: torch.Tensor) -> torch.Tensor:
        """Return what is added to the base, (B, C, scale h, scale w)."""
        raise NotImplementedError


class OfMeanColour(SingleImage):
    """A network that sees a picture without a mean colour, which is its own base."""

    mean: torch.Tensor

    def __init__(
        self, task: Task, facts: Facts, reach: Reach | None, width: int, base: str, mean: tuple[float, float, float]
    ):
        """`mean` is that of red, green and blue; other bands have none."""
        super().__init__(task, facts, reach, width, base)
        self.register_buffer("mean", mean_colour(task.bands, mean), persistent=False)

    @property
    def own_base(self) -> torch.Tensor:
        return self.mean


class OfColours(SingleImage):
    """A network that sees a picture's bands as they are, its Y, Cb and Cr, or its brightness alone: `channels`.

    With brightness alone, Cb and Cr are made finer by bicubic interpolation, as published. The base is of what it sees.
    """

    def __init__(self, task: Task, options: ColourOptions, facts: Facts, reach: Reach, width: int):
        super().__init__(task, facts, reach, width, options.base)
        self.colours = options.colours
        self.channels = 1 if options.colours == "y" else self.bands

    def picture(self, coarse_BChw: torch.Tensor) -> torch.Tensor:
        if self.colours == "rgb":
            return super().picture(coarse_BChw)
        if self.colours == "ycbcr":
            return rgb_of(super().picture(ycbcr(coarse_BChw)))
        enlarged = bicubic(at_least_float32(coarse_BChw), self.scale)
        return with_luma(enlarged, super().picture(luma(coarse_BChw)))
