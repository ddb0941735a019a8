"""Where patches lie and which are refused: pure geometry and masks."""

from __future__ import annotations

import numpy as np

from hpc_sr.errors import ShapeError


def patch_origins(height: int, width: int, patch_px: int, stride_px: int, unit_px: int) -> np.ndarray:
    """Return the (N, 2) upper-left pixels of a grid of patches; a last row and column end at the border.

    Origins are multiples of `unit_px`, so patches of all layers nest.
    Raises ShapeError if patch or stride is no multiple of the unit or the image is smaller than a patch.
    """
    if patch_px % unit_px or stride_px % unit_px:
        raise ShapeError(
            f"patch_px {patch_px} and stride_px {stride_px} must be multiples of {unit_px}",
            where="prepare",
            cure="choose multiples, so that the patches of all layers nest",
        )
    if height < patch_px or width < patch_px:
        raise ShapeError(
            f"{height} x {width} px is smaller than a patch of {patch_px} px", cure="choose smaller patches"
        )
    rows, columns = (_starts(size, patch_px, stride_px, unit_px) for size in (height, width))
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)


def refuse(
    origins: np.ndarray, patch_px: int, marks: dict[str, np.ndarray], limits: dict[str, float]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the origins whose patch is marked within all limits, and the refused origins by reason.

    `marks` are (H, W) booleans by reason, `limits` the largest marked share of a patch; a reason of `marks` without a
    limit has 0. Reasons are tried in the order of `limits`; a patch counts for the first that refuses it.
    """
    kept = np.ones(len(origins), bool)
    refused = {}
    for reason, limit in {**limits, **{reason: 0.0 for reason in marks if reason not in limits}}.items():
        hit = np.zeros(len(origins), bool)
        if reason in marks and limit < 1 and marks[reason].any():
            hit = kept & (_sum_in_patches(marks[reason], origins, patch_px) / patch_px**2 > limit)
        refused[reason] = origins[hit]
        kept &= ~hit
    return origins[kept], refused


def cut(layer_CHW: np.ndarray, origins: np.ndarray, patch_px: int, stride: int) -> np.ndarray:
    """Return the (N, C, h, w) patches of a layer whose pixels span `stride` target pixels."""
    size = patch_px // stride
    windows = np.lib.stride_tricks.sliding_window_view(layer_CHW, (size, size), axis=(1, 2))
    return windows[:, origins[:, 0] // stride, origins[:, 1] // stride].swapaxes(0, 1)


def _starts(size: int, patch_px: int, stride_px: int, unit_px: int) -> np.ndarray:
    last = (size - patch_px) // unit_px * unit_px
    return np.unique(np.append(np.arange(0, last + 1, stride_px), last))


def _sum_in_patches(mask: np.ndarray, origins: np.ndarray, patch_px: int) -> np.ndarray:
    sums = _integral(mask)
    top, left = origins.T
    bottom, right = top + patch_px, left + patch_px
    return sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]


def _integral(mask: np.ndarray) -> np.ndarray:
    """Return, at (r, c), how many pixels above r and left of c are marked, modulo 2**32: differences are exact."""
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int32)
    np.cumsum(mask, axis=0, out=sums[1:, 1:])
    return np.cumsum(sums, axis=1, out=sums)
