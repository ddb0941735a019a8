"""The patches of a store scored by every method: in a validation while training, and in an evaluation of a split.

A method without training takes each patch for an image of its own. Methods that are fitted to the image see no more
than its 32 or 96 px, and are worse for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from hpc_sr.classical.methods import INTERPOLATIONS, Baseline, fit_baseline, interpolated
from hpc_sr.comm.communicator import Comm
from hpc_sr.data.dataset import Patches
from hpc_sr.evaluate.metrics.measure import ImageSums, measure
from hpc_sr.evaluate.metrics.perceptual import Perceptual
from hpc_sr.evaluate.tally import Tally, finish_together
from hpc_sr.models.generator import Generator
from hpc_sr.models.precision import autocast
from hpc_sr.tasks import REFLECTANCE_ONE, Task

#: Patches that are scored at a time.
_PATCHES = 64

#: The scores of a validation.
_VALIDATED = ("rmse", "sre", "sam", "ergas", "psnr", "ssim")

#: Returns the target bands (B, C, H, W) of the layers (B, C, h, w) of small images, all in stored units.
PatchMethod = Callable[[dict[str, torch.Tensor]], torch.Tensor]


def score_patches(
    patches: Patches,
    methods: dict[str, PatchMethod],
    task: Task,
    comm: Comm,
    peak: float = REFLECTANCE_ONE,
    perceptual: Perceptual | None = None,
) -> dict[str, Any]:
    """Return what an evaluation says of all patches of a split or shard, taken as one image. Collective."""
    bands = task.bands
    nothing = 0.0 if perceptual is None else perceptual.zero()
    tallies = {name: Tally(ImageSums.zero(len(bands)), perceptual=nothing) for name in methods}
    for indices in _shares(len(patches), comm):
        layers = {
            name: torch.from_numpy(values).to(comm.device).float() for name, values in patches.take(indices).items()
        }
        for name, method in methods.items():
            began = time.perf_counter()
            estimate = method(layers)
            took_s = time.perf_counter() - began
            pair = torch.cat([layers[target.name] for target in task.targets], dim=1), estimate
            seen = nothing if perceptual is None else perceptual.measure(*pair, bands)
            tallies[name] += Tally(measure(*pair, peak=peak), perceptual=seen, seconds=took_s)
    return finish_together(tallies, bands, task.scale, comm, perceptual, peak)


def evaluate_patches(
    generator: Generator, patches: Patches, comm: Comm, precision: str, before: dict[str, float] | None = None
) -> dict[str, float]:
    """Return a validation's total scores over all bands of all targets, bicubic's as `<name>_bicubic`. Collective.

    Leaves the generator in evaluation mode.

    Bicubic's do not change from one validation to the next: they are taken from the one `before`, if given.
    """
    task = generator.task
    methods = {"generator": network_on_patches(generator.eval(), precision)}
    if before is None:
        methods["bicubic"] = baseline_on_patches("bicubic", task, "", "")
    scores = score_patches(patches, methods, task, comm, generator.units.peak)["methods"]
    ours = {name: scores["generator"]["total"][name] for name in _VALIDATED}
    if before is None:
        return ours | {f"{name}_bicubic": scores["bicubic"]["total"][name] for name in _VALIDATED}
    return before | ours


def network_on_patches(generator: Generator, precision: str) -> PatchMethod:
    """Return a generator as a method of `score_patches`."""

    def estimate(layers: dict[str, torch.Tensor]) -> torch.Tensor:
        inputs = [layers[layer.name] for layer in generator.task.inputs]
        with torch.inference_mode(), autocast(inputs[0].device, precision):
            return torch.cat(generator.estimate(*inputs), dim=1)

    return estimate


def baseline_on_patches(name: str, task: Task, degradation: str, satellite: str) -> PatchMethod:
    """Return a method without training as one of `score_patches`."""
    if name in INTERPOLATIONS:
        return lambda layers: torch.cat(
            [interpolated(name, layers[target.coarse.name], target.scale) for target in task.targets], dim=1
        )

    def fitted(image: dict[str, torch.Tensor]) -> list[Baseline]:
        return [fit_baseline(name, task.only(target), degradation, satellite, image) for target in task.targets]

    def estimate(layers: dict[str, torch.Tensor]) -> torch.Tensor:
        images = [dict(zip(layers, image, strict=True)) for image in zip(*layers.values(), strict=True)]
        return torch.stack([torch.cat([one.sharpen(image) for one in fitted(image)]) for image in images])

    return estimate


def _shares(count: int, comm: Comm) -> Iterator[np.ndarray]:
    mine = np.arange(count)[comm.rank :: comm.world_size]
    return (mine[start : start + _PATCHES] for start in range(0, len(mine), _PATCHES))
