"""BandNet: one coarse band at a time, whichever it is, sharpened by the finest bands.

The guided base (bases.py) measures in the image itself what a coarse band owes to each guide. The network sees the
guides by these slopes, so as parts of the band: it knows no band by name. Bands of which there is a sharp truth teach
it what to do with those of which there is none so sharp: 20 m bands, seen six times coarser, how to sharpen 60 m bands.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F

from hpc_sr.models.bases import Guided
from hpc_sr.models.blocks import bilinear
from hpc_sr.models.detail import mean_taps, unbiased_layers
from hpc_sr.models.facts import Facts
from hpc_sr.models.filters import BILINEAR_REACH_PX, at_least_float32, bicubic, coarse_support_px, correlated, degraded
from hpc_sr.models.generator import Outputs
from hpc_sr.models.multi_resolution import MultiResolution
from hpc_sr.models.options import BandOptions
from hpc_sr.models.reach import Reach
from hpc_sr.tasks import Task

#: The trunk's grid: a convolution on pixels of two by two costs a quarter.
_STEP = 2


class BandNet(MultiResolution):
    """A residual for each coarse band y, from its base, and from the guides P by the slopes a of y on them.

    With p = D(P), the guides seen coarsely, these go in for a band, the same network for each:

        base - up(y)                    what the base has put into the band
        bilinear(a) (P - up(p))         what it owes to each guide
        y - gaussian(y)                 on the coarse grid: what is to be explained,
        a (p - gaussian(p))             and what each guide explains of it

    up is bicubic. All are linear in y and do not change with a guide's unit; there are no biases. So a band twice as
    bright is corrected twice as much, and the weights fit any number of bands.
    """

    window: torch.Tensor

    def __init__(self, task: Task, options: BandOptions, facts: Facts):
        window = mean_taps()
        # The trunk's maps of all bands at once, in channels of the finest grid.
        width = -(-options.width * max(len(target.bands) for target in task.targets) // _STEP**2)
        super().__init__(task, options, facts, Reach(0, 0), width)
        # What goes in looks as far as the base, or as the local mean of guides that are seen coarsely.
        mean_px = 1 + BILINEAR_REACH_PX + window.shape[1] // 2
        seen_px = max(g.scale * (mean_px + coarse_support_px(g.guide_taps, g.scale)) for g in self.guided())
        convolutions_px = _STEP * (2 + 2 * options.blocks) + _STEP - 1
        self.reach = replace(self.reach, before_px=max(self.reach.before_px, seen_px) + convolutions_px)
        self.register_buffer("window", window, persistent=False)
        guides = len(task.inputs[0].bands)
        seen = (1 + guides) * (_STEP**2 + 1)
        self.first, self.trunk, self.head = unbiased_layers(seen, _STEP**2, options)

    def forward(self, *inputs_BCHW: torch.Tensor) -> Outputs:
        bases = self.bases_of(inputs_BCHW, [])
        guides = at_least_float32(inputs_BCHW[0])
        residuals = [
            self._residual(guided, at_least_float32(inputs_BCHW[place]), guides, base)
            for guided, place, base in zip(self.guided(), self._coarse, bases, strict=True)
        ]
        return self.consistent(inputs_BCHW, bases, torch.cat(residuals, 1))

    def guided(self) -> list[Guided]:
        """Return the base of each target."""
        return [base for base in self.bases or () if isinstance(base, Guided)]

    def _residual(
        self, guided: Guided, y_BChw: torch.Tensor, guides_BKHW: torch.Tensor, base_BCHW: torch.Tensor
    ) -> torch.Tensor:
        """Return what is added to the base of each band: the bands are samples to the network."""
        scale, (batch, bands) = guided.scale, y_BChw.shape[:2]
        p = degraded(guides_BKHW, guided.guide_taps, scale)
        # (B, C, K, h, w), so that a band's own slopes lie together.
        slopes = torch.stack(guided.slopes(y_BChw, p), 2)
        owed = bilinear(slopes.flatten(1, 2), scale).unflatten(1, slopes.shape[1:3])
        owed = owed * (guides_BKHW - bicubic(p, scale)).unsqueeze(1)
        injected = (base_BCHW - bicubic(y_BChw, scale)).unsqueeze(2)
        fine = torch.cat((injected, owed), 2).flatten(0, 1)
        explained = slopes * (p - correlated(p, self.window)).unsqueeze(1)
        coarse = torch.cat(((y_BChw - correlated(y_BChw, self.window)).unsqueeze(2), explained), 2).flatten(0, 1)
        seen = torch.cat((F.pixel_unshuffle(fine, _STEP), bilinear(coarse, scale // _STEP)), 1)
        seen = seen.contiguous(memory_format=torch.channels_last)
        residual = F.pixel_shuffle(self.head(self.trunk(self.first(seen))), _STEP)
        return residual.view(batch, bands, *residual.shape[2:])
