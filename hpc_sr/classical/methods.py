"""Methods without training, by name: fitted to an image, then ready for windows of it.

Interpolations and `guided` look at a neighbourhood. ATPRK and SupReME are fitted to the image, or to a part that stands
for it, before they sharpen windows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from hpc_sr.classical import guided, supreme
from hpc_sr.classical.atprk import fit_atprk, sharpen
from hpc_sr.classical.interpolation import (
    BICUBIC_REACH_PX,
    BILINEAR_REACH_PX,
    NEAREST_REACH_PX,
    bicubic,
    bilinear,
    nearest,
)
from hpc_sr.errors import RecipeError
from hpc_sr.sentinel2.degrade import Kernel, kernel
from hpc_sr.tasks import Layer, Task

#: Methods without training, weakest first.
INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
BASELINES = (*INTERPOLATIONS, "guided", "atprk", "supreme")

#: Methods that are fitted to the image.
FITTED = ("atprk", "supreme")

#: Target pixels a side of the part that ATPRK and SupReME are fitted to: all of a scene, a part of a full tile.
FIT_PX = 1200

#: Input layers by name, (C, h, w) in stored units.
Layers = dict[str, torch.Tensor]

_INTERPOLATE = {
    "nearest": (nearest, NEAREST_REACH_PX),
    "bilinear": (bilinear, BILINEAR_REACH_PX),
    "bicubic": (bicubic, BICUBIC_REACH_PX),
}


@dataclass(frozen=True)
class Baseline:
    """A method that is ready for the windows of an image: `sharpen` makes the target bands (C, H, W) of layers.

    With `reach_px` target pixels around a window, fewer only where the image ends, they are those of the whole image.
    While it works it takes about `bytes_per_px` for each target pixel of a window.
    """

    reach_px: int
    bytes_per_px: int
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


def fit_baseline(
    name: str, task: Task, degradation: str, satellite: str, sample: Layers, exact: bool = True
) -> Baseline:
    """Return a method of BASELINES for a task of one target, fitted to an image or to a part that stands for it.

    Only those in FITTED look at the sample. `exact` guided works in float64, else in float32: they differ by some
    hundredths of a DN.
    """
    coarse, guides, scale = task.target.coarse, task.inputs[0], task.target.scale
    if name in INTERPOLATIONS:
        reach_px = _INTERPOLATE[name][1] * scale
        return Baseline(reach_px, 100, lambda layers: interpolated(name, layers[coarse.name][None], scale)[0])

    def law(layer: Layer, stride: int) -> Kernel:
        return kernel(degradation, stride, layer.bands, satellite)

    if name == "guided":
        laws = law(coarse, scale), law(guides, scale)
        return Baseline(
            guided.reach_px(*laws),
            600 if exact else 300,
            lambda layers: guided.guided(layers[coarse.name], layers[guides.name], *laws, exact=exact),
        )
    if name == "atprk":
        fitted = fit_atprk(sample[coarse.name], sample[guides.name], scale)
        return Baseline(fitted.reach_px, 600, lambda layers: sharpen(fitted, layers[coarse.name], layers[guides.name]))
    assert name == "supreme"
    below = [layer for layer in task.inputs if layer.stride > 1]

    def seen(layers: Layers) -> list[supreme.Seen]:
        return [supreme.Seen(layers[layer.name], law(layer, layer.stride)) for layer in below]

    subspace = supreme.fit_subspace(sample[guides.name], seen(sample))
    return Baseline(
        supreme.OVERLAP_PX,
        1500,
        lambda layers: supreme.supreme(subspace, layers[guides.name], seen(layers))[below.index(coarse)],
    )
