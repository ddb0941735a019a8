"""A scene scored by every method, window by window, the windows shared out to ranks."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from hpc_sr.comm.communicator import Comm
from hpc_sr.evaluate.metrics.measure import CONTEXT_PX, ImageSums, measure
from hpc_sr.evaluate.metrics.perceptual import PERCEPTUAL_CONTEXT_PX, Perceptual
from hpc_sr.evaluate.metrics.spectrum import measure_spectrum
from hpc_sr.evaluate.protocols.land_cover import class_masks
from hpc_sr.evaluate.protocols.scenes import CORE_PX, Scene
from hpc_sr.evaluate.tally import Tally, finish_together
from hpc_sr.evaluate.worst import worst_in
from hpc_sr.infer.windows import Area, middle_of, stretch_of, tile_cores
from hpc_sr.logs import track
from hpc_sr.tasks import REFLECTANCE_ONE


def score_scene(
    scene: Scene, bands: tuple[str, ...], scale: int, comm: Comm, perceptual: Perceptual | None = None
) -> dict[str, Any]:
    """Return what an evaluation says of a scene, as `finish_together` does. Collective."""
    return finish_together(tally_scene(scene, bands, comm, perceptual), bands, scale, comm, perceptual)


def tally_scene(
    scene: Scene, bands: tuple[str, ...], comm: Comm, perceptual: Perceptual | None = None
) -> dict[str, Tally]:
    """Return the tallies by method of this rank's windows of a scene: others have the rest. Not collective.

    Each rank scores windows that lie together, so that what they share is worked out once.
    """
    context_px = CONTEXT_PX if perceptual is None else max(CONTEXT_PX, PERCEPTUAL_CONTEXT_PX)
    nothing = 0.0 if perceptual is None else perceptual.zero()
    tallies = {name: Tally(ImageSums.zero(len(bands)), perceptual=nothing) for name in scene.methods}
    cores = stretch_of(tile_cores(scene.height, scene.width, CORE_PX), comm.rank, comm.world_size)
    for core in track(cores, scene.name, shown=comm.rank == 0):
        area = core.grown(context_px).within(scene.height, scene.width)
        inside = core.relative_to(area).slices
        reference, valid = scene.reference(area)
        if not valid[inside].any():
            continue
        classes = {} if scene.classes is None else class_masks(scene.classes[core.slices])
        scored: dict[str, torch.Tensor] = {}
        for name, method in scene.methods.items():
            began = time.perf_counter()
            estimate = method(area)
            took_s = time.perf_counter() - began
            images, mask = (reference.to(estimate.device), estimate), valid.to(estimate.device)
            x_CHW, y_CHW = (image[(slice(None), *inside)] for image in images)
            tallies[name] += Tally(
                measure(*images, mask, inside),
                _measure_classes(x_CHW, y_CHW, mask[inside], classes),
                measure_spectrum(*images, mask, inside),
                nothing if perceptual is None else perceptual.measure(*images, bands, mask, inside),
                took_s,
            )
            scored[name] = y_CHW
        truth = reference[(slice(None), *inside)]
        for name, worst in worst_in(truth, scored, valid[inside], (core.row, core.column)).items():
            tallies[name] = replace(tallies[name], worst=worst.or_worse(tallies[name].worst))
    return tallies


def panel_of(scene: Scene, size_px: int, multiple_px: int) -> dict[str, np.ndarray]:
    """Return the float32 reflectance of the middle of what is scored: inputs, truth and each method's estimate."""
    whole = Area(0, 0, scene.height, scene.width)
    part = scene.blocks[0].common(whole) if scene.blocks else whole
    row, column = (-(-edge // multiple_px) * multiple_px for edge in (part.row, part.column))
    middle = middle_of(part.row + part.height - row, part.column + part.width - column, size_px, multiple_px)
    area = Area(row + middle.row, column + middle.column, middle.height, middle.width)
    shown = scene.pictures(area)
    shown |= {f"method_{n}": method(area).cpu().numpy() for n, method in enumerate(scene.methods.values())}
    return {key: (values / REFLECTANCE_ONE).astype(np.float32) for key, values in shown.items()}


def _measure_classes(
    x_CHW: torch.Tensor, y_CHW: torch.Tensor, valid_HW: torch.Tensor, classes: dict[str, np.ndarray]
) -> dict[str, ImageSums]:
    """Return the pointwise sums of each class: its pixels in one row hold no window."""
    found = {}
    for name, mask_HW in classes.items():
        mask = torch.from_numpy(mask_HW).to(x_CHW.device) & valid_HW
        found[name] = measure(x_CHW[:, mask][:, None], y_CHW[:, mask][:, None])
    return found
