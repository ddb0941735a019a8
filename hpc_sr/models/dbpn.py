"""D-DBPN: features go up to the fine grid and down again, in turns, each time corrected by what that gets wrong.

Source: Haris et al. 2018, https://arxiv.org/abs/1803.02735.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from hpc_sr.models.blocks import conv3
from hpc_sr.models.facts import Facts
from hpc_sr.models.picture_options import DBPNOptions
from hpc_sr.models.reach import Reach
from hpc_sr.models.single_image import SingleImage
from hpc_sr.models.spans import Span, around, farthest_px, strided, transposed
from hpc_sr.tasks import Task

#: Kernel, stride and padding of what goes from one grid to the other, by scale.
_STEPS = {2: (6, 2, 2), 4: (8, 4, 2)}


class DBPN(SingleImage):
    """7 stages of 64 channels have 10,426,358 parameters at x4, 5,953,526 at x2."""

    def __init__(self, task: Task, options: DBPNOptions, facts: Facts):
        width, stages, step = options.width, options.stages, _STEPS[task.scale]
        reach_px = farthest_px(partial(_seen, stages=stages, step=step), task.scale, task.scale)
        super().__init__(task, facts, Reach(reach_px, 0), stages * width, options.base)
        self.first = nn.Sequential(
            conv3(self.bands, options.features), nn.PReLU(), nn.Conv2d(options.features, width, 1), nn.PReLU()
        )
        self.ups = nn.ModuleList(_Projection(width, max(1, stage), step, up=True) for stage in range(stages))
        self.downs = nn.ModuleList(_Projection(width, stage, step, up=False) for stage in range(1, stages))
        self.last = conv3(stages * width, self.bands)
        for part in self.modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(part.weight)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)

    def finer(self, coarse_BChw: torch.Tensor) -> torch.Tensor:
        """Each projection sees what all before it on its own grid made."""
        fine, coarse = [], [self.first(coarse_BChw)]
        fine.append(self.ups[0](coarse.pop()))
        for up, down in zip(self.ups[1:], self.downs, strict=True):
            coarse.append(down(torch.cat(fine, 1)))
            fine.append(up(torch.cat(coarse, 1)))
        return self.last(torch.cat(fine, 1))


class _Projection(nn.Module):
    """y + again(back(y) - x), y what is made of x on the other grid; x is `seen` maps in one."""

    def __init__(self, width: int, seen: int, step: tuple[int, int, int], up: bool):
        super().__init__()
        self.merge = nn.Sequential(nn.Conv2d(seen * width, width, 1), nn.PReLU()) if seen > 1 else nn.Identity()
        self.there, self.back, self.again = (_crossing(width, step, way) for way in (up, not up, up))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        x_BCHW = self.merge(x_BCHW)
        found = self.there(x_BCHW)
        return found + self.again(self.back(found) - x_BCHW)


def _crossing(width: int, step: tuple[int, int, int], up: bool) -> nn.Sequential:
    layer = nn.ConvTranspose2d if up else nn.Conv2d
    return nn.Sequential(layer(width, width, *step), nn.PReLU())


def _seen(span: Span, stages: int, step: tuple[int, int, int]) -> Span:
    """Return which pixels of the given picture those of the result depend on: by the longest way, which sees most."""
    span = around(span, 1)
    for stage in range(stages):
        if stage:
            span = strided(transposed(strided(span, *step), *step), *step)
        span = transposed(strided(transposed(span, *step), *step), *step)
    return around(span, 1)
