"""A few held-out patches as a run sees them at each validation: input, estimate and reference side by side."""

from __future__ import annotations

import numpy as np
import torch

from hpc_sr.data.dataset import Patches
from hpc_sr.models.generator import Generator
from hpc_sr.models.precision import autocast
from hpc_sr.tasks import shown_bands

_PATCHES = 4
#: Pixels a patch is enlarged to, at least: boards show pictures as large as they are.
_SIDE_PX = 128
_PERCENTILES = (2, 98)


def validation_pictures(generator: Generator, patches: Patches, precision: str) -> dict[str, np.ndarray]:
    """Return a picture (3, h, w), uint8, of each target: a row for each patch with its input, estimate and reference.

    The patches are the same every time, from the first to the last. All pictures of a target are in the stretch of the
    references. Leaves the generator in evaluation mode.
    """
    task, device = generator.task, next(generator.parameters()).device
    chosen = np.unique(np.linspace(0, len(patches) - 1, _PATCHES).round().astype(int))
    layers = {name: torch.from_numpy(values).to(device).float() for name, values in patches.take(chosen).items()}
    with torch.inference_mode(), autocast(device, precision):
        estimates = generator.eval().estimate(*(layers[layer.name] for layer in task.inputs))
    pictures = {}
    for target, estimate in zip(task.targets, estimates, strict=True):
        shown = [target.bands.index(band) for band in shown_bands(target.bands)]
        reference = layers[target.name][:, shown]
        coarse = layers[target.coarse.name][:, shown]
        factor = -(-_SIDE_PX // reference.shape[-1])
        columns = [_enlarged(coarse, factor * reference.shape[-1] // coarse.shape[-1])]
        columns += [_enlarged(values, factor) for values in (estimate[:, shown], reference)]
        rows = np.concatenate(columns, axis=3)  # (N, C, h, 3 w)
        low, high = np.percentile(columns[-1], _PERCENTILES, axis=(0, 2, 3))[..., None, None, None]
        grey = ((np.concatenate(rows, axis=1) - low[:, 0]) / np.maximum(high - low, 1)[:, 0]).clip(0, 1) * 255
        pictures[target.name] = np.broadcast_to(np.rint(grey), (3, *grey.shape[1:])).astype(np.uint8)
    return pictures


def _enlarged(values_NCHW: torch.Tensor, factor: int) -> np.ndarray:
    return values_NCHW.float().repeat_interleave(factor, 2).repeat_interleave(factor, 3).cpu().numpy()
