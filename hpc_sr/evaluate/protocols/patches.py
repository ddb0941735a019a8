"""The patches of a store scored by every method: in a validation while training, and in an evaluation of a split.

Each patch is an image of its own to a method without training: those that fit see 32 or 96 px, and are worse for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from hpc_sr.comm.communicator import Comm
from hpc_sr.data.dataset import Patches
from hpc_sr.evaluate.methods import INTERPOLATIONS, fit_baseline, interpolated
from hpc_sr.evaluate.metrics.measure import ImageSums, measure
from hpc_sr.evaluate.metrics.perceptual import Perceptual
from hpc_sr.evaluate.tally import Tally, finish_together
from hpc_sr.models.generator import Generator
from hpc_sr.models.precision import autocast
from hpc_sr.tasks import NETWORK_UNIT, REFLECTANCE_ONE, Task

#: Patches that are scored at a time.
_PATCHES = 64

#: The scores of a validation.
_VALIDATED = ("rmse", "sre", "sam", "ergas", "psnr", "ssim")

#: Returns the target bands (B, C, H, W) of the layers (B, C, h, w) of small images, all in stored units.
PatchMethod = Callable[[dict[str, torch.Tensor]], torch.Tensor]


def peak_of(units: str) -> float:
    """Return the value of full brightness in a store's units."""
    return {"8 bit": 255.0, "16 bit": 65535.0}.get(units, REFLECTANCE_ONE)


def score_patches(
    patches: Patches,
    methods: dict[str, PatchMethod],
    task: Task,
    comm: Comm,
    peak: float = REFLECTANCE_ONE,
    perceptual: Perceptual | None = None,
) -> dict[str, Any]:
    """Return what an evaluation says of all patches of a split or shard, taken as one image. Collective."""
    bands = task.target.bands
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
            pair = layers[task.target.name], estimate
            seen = nothing if perceptual is None else perceptual.measure(*pair, bands)
            tallies[name] += Tally(measure(*pair, peak=peak), perceptual=seen, seconds=took_s)
    return finish_together(tallies, bands, task.scale, comm, perceptual, peak)


def evaluate_patches(
    generator: Generator,
    patches: Patches,
    task: Task,
    comm: Comm,
    precision: str,
    before: dict[str, float] | None = None,
    peak: float = REFLECTANCE_ONE,
) -> dict[str, float]:
    """Return a validation's total scores, bicubic's as `<name>_bicubic`. Leaves the generator in evaluation mode.

    Bicubic's do not change from one validation to the next: they are taken from the one `before`, if given.
    """
    methods = {"generator": network_on_patches(generator.eval(), task, precision)}
    if before is None:
        methods["bicubic"] = baseline_on_patches("bicubic", task, "", "")
    scores = score_patches(patches, methods, task, comm, peak)["methods"]
    ours = {name: scores["generator"]["total"][name] for name in _VALIDATED}
    if before is None:
        return ours | {f"{name}_bicubic": scores["bicubic"]["total"][name] for name in _VALIDATED}
    return before | ours


def network_on_patches(generator: Generator, task: Task, precision: str) -> PatchMethod:
    """Return a generator as a method of `score_patches`."""

    def estimate(layers: dict[str, torch.Tensor]) -> torch.Tensor:
        inputs = (layers[layer.name] / NETWORK_UNIT for layer in task.inputs)
        with torch.inference_mode(), autocast(next(generator.parameters()).device, precision):
            return generator(*inputs).float() * NETWORK_UNIT

    return estimate


def baseline_on_patches(name: str, task: Task, degradation: str, satellite: str) -> PatchMethod:
    """Return a method without training as one of `score_patches`."""
    if name in INTERPOLATIONS:
        return lambda layers: interpolated(name, layers[task.coarse.name], task.scale)

    def estimate(layers: dict[str, torch.Tensor]) -> torch.Tensor:
        images = [dict(zip(layers, image, strict=True)) for image in zip(*layers.values(), strict=True)]
        return torch.stack([fit_baseline(name, task, degradation, satellite, image).sharpen(image) for image in images])

    return estimate


def _shares(count: int, comm: Comm) -> Iterator[np.ndarray]:
    mine = np.arange(count)[comm.rank :: comm.world_size]
    return (mine[start : start + _PATCHES] for start in range(0, len(mine), _PATCHES))
