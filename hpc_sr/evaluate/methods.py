"""What is scored: methods without training, by name, and networks. Each answers for any area of one image.

A method that is fitted to the image is fitted to all of it, or to the middle of a large one, and then sharpens windows.
An area's result does not depend on the other areas.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from hpc_sr.classical.methods import FIT_PX, Baseline, Layers, fit_baseline
from hpc_sr.infer.windows import Area, middle_of
from hpc_sr.tasks import Layer, Task

#: Returns the estimate (C, h, w) of an area of the target grid, in stored units.
Method = Callable[[Area], torch.Tensor]


@dataclass(frozen=True)
class Field:
    """The input layers of one image, `height` x `width` target pixels: all that a method may look at.

    The task has one target.

    `read` returns the finite (C, h, w) values of a layer, in stored units, for an area on the layer's own grid. The
    layers follow from the truth by `degradation`, as `satellite` sees it.
    """

    task: Task
    height: int
    width: int
    read: Callable[[Layer, Area], np.ndarray]
    degradation: str
    satellite: str

    def layers(self, area: Area) -> Layers:
        """Return the input layers of an aligned area, float32."""
        return {
            layer.name: torch.from_numpy(np.ascontiguousarray(self.read(layer, area.divided(layer.stride)), np.float32))
            for layer in self.task.inputs
        }


def baseline_method(name: str, field: Field) -> Method:
    """Return a method of BASELINES for areas of an image. It is fitted when it is first asked."""
    unit = field.task.alignment_px
    middle = middle_of(field.height, field.width, FIT_PX, unit)

    @cache
    def baseline() -> Baseline:
        return fit_baseline(name, field.task, field.degradation, field.satellite, field.layers(middle))

    def estimate(area: Area) -> torch.Tensor:
        reach_px = -(-baseline().reach_px // unit) * unit
        around = area.aligned(unit).grown(reach_px).within(field.height, field.width)
        return baseline().sharpen(field.layers(around))[(slice(None), *area.relative_to(around).slices)]

    return estimate


def by_tiles(method: Method, tiles: list[Area]) -> Method:
    """Return a method that asks another one for the tiles of an image and puts areas together from them.

    Areas that follow each other row by row share their context: each tile is asked for once, and kept until an area
    begins below it.
    """
    kept: dict[Area, torch.Tensor] = {}

    def estimate(area: Area) -> torch.Tensor:
        for tile in [tile for tile in kept if tile.row + tile.height <= area.row]:
            del kept[tile]
        rows: dict[int, list[torch.Tensor]] = {}
        for tile in tiles:
            shared = tile.common(area)
            if min(shared.height, shared.width) > 0:
                if tile not in kept:
                    kept[tile] = method(tile)
                inside = shared.relative_to(tile).slices
                rows.setdefault(tile.row, []).append(kept[tile][(slice(None), *inside)])
        return torch.cat([torch.cat(parts, dim=2) for parts in rows.values()], dim=1)

    return estimate
