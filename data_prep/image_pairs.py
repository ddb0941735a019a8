"""The pair of one image, whatever it was read from: the low resolution made where none is given, and its marks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_prep.resample import downsample, support_px
from hpc_sr.errors import ImageError
from hpc_sr.sentinel2.pairs import Pair, coarse_marks
from hpc_sr.tasks import Task


def image_pair(
    target: np.ndarray,
    marks: dict[str, np.ndarray],
    task: Task,
    degradation: str,
    bounds: tuple[int, int],
    given: dict[str, np.ndarray],
) -> Pair:
    """Return the pair of a trimmed image; a low-resolution pixel that depends on a marked one marks all its box.

    A given low resolution counts as made by the degradation that the recipe states.
    """
    if "lr" not in given:
        coarse = np.rint(downsample(target, task.scale, degradation))
        given = {**given, "lr": np.clip(coarse, *bounds).astype(np.int16)}
    layers = {layer.name: given[layer.name] for layer in task.inputs} | {"target": target}
    spread = {}
    for reason, mask in marks.items():
        if mask.any():
            coarse = coarse_marks(mask, support_px(degradation, task.scale), task.scale)
            mask = np.repeat(np.repeat(coarse, task.scale, 0), task.scale, 1)
        spread[reason] = mask
    return Pair(layers, spread)


def trimmed(array: np.ndarray, scale: int, where: str | Path = "") -> np.ndarray:
    """Return the array (..., H, W) without the rows below and columns right of the last whole coarse pixel."""
    height, width = (size // scale * scale for size in array.shape[-2:])
    if not height or not width:
        raise ImageError(f"is smaller than {scale} x {scale} px", where=where, cure="give a larger image")
    return array[..., :height, :width]
