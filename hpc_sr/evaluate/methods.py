"""What is scored: methods without training, by name, and networks. Each answers for any area of one image.

Interpolations and `guided` look at a neighbourhood. ATPRK and SupReME are first fitted to the image (of a large one to
its middle) and then sharpen windows of it. In both cases an area's result does not depend on the other areas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from hpc_sr.errors import RecipeError
from hpc_sr.evaluate.classical import guided, supreme
from hpc_sr.evaluate.classical.atprk import fit_atprk, sharpen
from hpc_sr.evaluate.classical.interpolation import (
    BICUBIC_REACH_PX,
    BILINEAR_REACH_PX,
    NEAREST_REACH_PX,
    bicubic,
    bilinear,
    nearest,
)
from hpc_sr.infer.windows import Area, middle_of
from hpc_sr.sentinel2.degrade import Kernel, kernel
from hpc_sr.tasks import Layer, Task

#: Methods without training, weakest first.
INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
BASELINES = (*INTERPOLATIONS, "guided", "atprk", "supreme")

#: Target pixels a side of the part that ATPRK and SupReME are fitted to: all of a scene, the middle of a full tile.
_FIT_PX = 1200

#: Input layers by name, (C, h, w) in stored units.
Layers = dict[str, torch.Tensor]
#: Returns the estimate (C, h, w) of an area of the target grid, in stored units.
Method = Callable[[Area], torch.Tensor]

_INTERPOLATE = {
    "nearest": (nearest, NEAREST_REACH_PX),
    "bilinear": (bilinear, BILINEAR_REACH_PX),
    "bicubic": (bicubic, BICUBIC_REACH_PX),
}


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


@dataclass(frozen=True)
class Baseline:
    """A method that is ready for the windows of an image: `sharpen` makes the target bands (C, H, W) of layers.

    With `reach_px` target pixels around a window, fewer only where the image ends, they are those of the whole image.
    """

    reach_px: int
    sharpen: Callable[[Layers], torch.Tensor]


def choose_baselines(names: Sequence[str]) -> tuple[str, ...]:
    """Return bicubic and the methods called `names`, weakest first; "all" are all. Raises RecipeError for others."""
    unknown = sorted(set(names) - {*BASELINES, "all"})
    if unknown:
        raise RecipeError(
            f"unknown method {unknown[0]!r}", where="--method", cure=f"choose of {', '.join(BASELINES)}, all"
        )
    return tuple(name for name in BASELINES if "all" in names or name in {"bicubic", *names})


def check_baselines(names: tuple[str, ...], task: Task) -> None:
    """Raise RecipeError for a name that is no method, or for one that the task's layers do not allow."""
    for name in names:
        if name not in BASELINES:
            raise RecipeError(f"unknown method {name!r}", where="--method", cure=f"choose of {', '.join(BASELINES)}")
        if name not in INTERPOLATIONS and task.of_images:
            raise RecipeError(
                f"{name} needs bands of a satellite at 10 m, task {task.name} has none",
                where="--method",
                cure=f"choose of {', '.join(INTERPOLATIONS)}",
            )


def interpolated(name: str, x_BCHW: torch.Tensor, scale: int) -> torch.Tensor:
    """Return images on a grid `scale` times finer by one of INTERPOLATIONS."""
    return _INTERPOLATE[name][0](x_BCHW, scale)


def fit_baseline(name: str, task: Task, degradation: str, satellite: str, sample: Layers) -> Baseline:
    """Return a method of BASELINES for a task of one target, fitted to an image or to a part that stands for it."""
    coarse, guides, scale = task.target.coarse, task.inputs[0], task.target.scale
    if name in INTERPOLATIONS:
        reach_px = _INTERPOLATE[name][1] * scale
        return Baseline(reach_px, lambda layers: interpolated(name, layers[coarse.name][None], scale)[0])

    def law(layer: Layer, stride: int) -> Kernel:
        return kernel(degradation, stride, layer.bands, satellite)

    if name == "guided":
        laws = law(coarse, scale), law(guides, scale)
        reach_px = guided.reach_px(*laws)
        return Baseline(reach_px, lambda layers: guided.guided(layers[coarse.name], layers[guides.name], *laws))
    if name == "atprk":
        fitted = fit_atprk(sample[coarse.name], sample[guides.name], scale)
        return Baseline(fitted.reach_px, lambda layers: sharpen(fitted, layers[coarse.name], layers[guides.name]))
    assert name == "supreme"
    below = [layer for layer in task.inputs if layer.stride > 1]

    def seen(layers: Layers) -> list[supreme.Seen]:
        return [supreme.Seen(layers[layer.name], law(layer, layer.stride)) for layer in below]

    subspace = supreme.fit_subspace(sample[guides.name], seen(sample))
    return Baseline(
        supreme.OVERLAP_PX,
        lambda layers: supreme.supreme(subspace, layers[guides.name], seen(layers))[below.index(coarse)],
    )


def baseline_method(name: str, field: Field) -> Method:
    """Return a method of BASELINES for areas of an image. It is fitted when it is first asked."""
    unit = field.task.alignment_px
    middle = middle_of(field.height, field.width, _FIT_PX, unit)

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
