"""Metrics as float64 sums: windows, batches and ranks add up first, then every score is computed once.

A mean of RMSEs over windows is no RMSE, so nothing here averages scores. One ImageSums holds what one image needs;
add those of its windows, sum their vectors over ranks, `finish` them. Values are reflectance x 10 000 unless another
`peak` is given, as 255 for images of 8 bits.

Shapes: x_BCHW = batch, bands, rows, columns.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from hpc_sr.errors import NotFiniteError, ShapeError
from hpc_sr.evaluate.metrics import gradients, pointwise, structure
from hpc_sr.evaluate.metrics.scores import finish
from hpc_sr.evaluate.metrics.sums import ImageSums
from hpc_sr.tasks import REFLECTANCE_ONE

__all__ = ["CONSTANTS", "CONTEXT_PX", "ImageSums", "finish", "measure"]

#: Pixels of context that a window of a larger image brings along on each side, as far as the image goes.
CONTEXT_PX = structure.SSIM_WINDOW_PX // 2

#: What the scores depend on besides the pixels: printed with every table.
CONSTANTS = {
    "max": REFLECTANCE_ONE,
    "ssim_window_px": structure.SSIM_WINDOW_PX,
    "ssim_sigma_px": structure.SSIM_SIGMA_PX,
    "ssim_k1": structure.SSIM_K1,
    "ssim_k2": structure.SSIM_K2,
    "uiq_window_px": structure.UIQ_WINDOW_PX,
    "gsm_window_px": gradients.GRADIENT_WINDOW_PX,
    "gsm_k": gradients.GSM_K,
    "ergas_ratio": "1 / scale",
}

#: First row and row after the last, first column and column after the last.
_Bounds = tuple[tuple[int, int], tuple[int, int]]
#: Returns maps of two images of one band, one value per window.
_Maps = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, ...]]


@torch.no_grad()
def measure(
    reference: torch.Tensor,
    estimate: torch.Tensor,
    mask: torch.Tensor | None = None,
    core: tuple[slice, slice] | None = None,
    peak: float = REFLECTANCE_ONE,
) -> ImageSums:
    """Return the sums of one image, of one window of it, or of a batch of small ones.

    Pointwise metrics count the pixels of `core` (rows, columns; None is everything). SSIM, UIQ and GSM count the
    windows whose centre lies in the core and which lie wholly in the arrays: bring CONTEXT_PX pixels around the core,
    fewer only where the image ends, and any tiling gives the sums of the whole image. Where `mask` is false a pixel
    is not counted, nor any window that holds it; its value may be NaN. `peak` scales the constants of SSIM and GSM.

    Shapes: (C, H, W) or (B, C, H, W) on any device; mask (H, W) or (B, H, W). The work is done in float64 and takes
    some ten times the images' memory in that type, so large images are best given by windows.
    Raises ShapeError if the shapes do not fit; NotFiniteError for NaN or infinity in a pixel that counts.
    """
    x_BCHW, y_BCHW, valid_BHW = _as_batch(reference, estimate, mask)
    bands, height, width = x_BCHW.shape[1:]
    rows, columns = core or (slice(None), slice(None))
    bounds = rows.indices(height)[:2], columns.indices(width)[:2]

    core_slices = (..., slice(*bounds[0]), slice(*bounds[1]))
    x_core, y_core = x_BCHW[core_slices].double(), y_BCHW[core_slices].double()
    error, valid_core = y_core - x_core, None if valid_BHW is None else valid_BHW[core_slices]
    windows = x_BCHW, y_BCHW, valid_BHW, bounds
    parts = [
        pointwise.count_pixels(x_core, valid_core),
        *pointwise.band_sums(x_core, error, error * error),
        *pointwise.angle_sums(x_core, y_core),
        *_windowed(lambda x, y: (structure.ssim_map(x, y, peak),), 1, structure.SSIM_WINDOW_PX, *windows),
        *_windowed(lambda x, y: (structure.uiq_map(x, y),), 1, structure.UIQ_WINDOW_PX, *windows),
        *pointwise.band_sums(x_core * x_core, x_core * error),
        *_windowed(lambda x, y: gradients.gradient_maps(x, y, peak), 3, gradients.GRADIENT_WINDOW_PX, *windows),
    ]
    values = torch.cat([part.double().reshape(-1) for part in parts]).cpu().numpy()
    if not np.isfinite(values).all():
        raise _not_finite(x_BCHW, y_BCHW)
    return ImageSums(bands, values, pointwise.brightest(x_core, valid_core))


def _as_batch(
    reference: torch.Tensor, estimate: torch.Tensor, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Return reference, estimate and mask with a batch axis; what the mask excludes becomes 0 in both images."""
    if reference.shape != estimate.shape or reference.ndim not in (3, 4):
        raise ShapeError(
            f"reference {tuple(reference.shape)} and estimate {tuple(estimate.shape)} cannot be compared",
            cure="give both as (C, H, W) or (B, C, H, W) on one grid",
        )
    x_BCHW, y_BCHW = (image if image.ndim == 4 else image[None] for image in (reference, estimate))
    if mask is None:
        return x_BCHW, y_BCHW, None
    batch, _, height, width = x_BCHW.shape
    if tuple(mask.shape) not in ((height, width), (batch, height, width)):
        raise ShapeError(f"a mask of shape {tuple(mask.shape)} does not fit images of shape {tuple(x_BCHW.shape)}")
    valid_BHW = mask.bool().expand(batch, height, width)
    x_BCHW, y_BCHW = (torch.where(valid_BHW[:, None], image, 0) for image in (x_BCHW, y_BCHW))
    return x_BCHW, y_BCHW, valid_BHW


def _windowed(
    maps: _Maps,
    count: int,
    window_px: int,
    x_BCHW: torch.Tensor,
    y_BCHW: torch.Tensor,
    valid_BHW: torch.Tensor | None,
    bounds: _Bounds,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sums of `count` maps over whole windows centred in the core, (count, bands), and their number."""
    reach = window_px // 2
    rows, columns = (slice(max(start - reach, 0), stop + reach) for start, stop in bounds)
    around = (..., rows, columns)
    x_BCHW, y_BCHW = x_BCHW[around], y_BCHW[around]
    if min(x_BCHW.shape[-2:]) < window_px:
        return x_BCHW.new_zeros(count, x_BCHW.shape[1]), x_BCHW.new_zeros(1)
    whole = None if valid_BHW is None else structure.whole_windows(valid_BHW[around], window_px)
    sums = []
    for x_BHW, y_BHW in zip(x_BCHW.unbind(1), y_BCHW.unbind(1), strict=True):
        found = maps(x_BHW.double(), y_BHW.double())
        whole = torch.ones_like(found[0], dtype=torch.bool) if whole is None else whole
        sums.append(torch.stack([torch.where(whole, quality, 0.0).sum() for quality in found]))
    assert whole is not None, "an image has a band"
    return torch.stack(sums, dim=1), whole.sum()


def _not_finite(x_BCHW: torch.Tensor, y_BCHW: torch.Tensor) -> NotFiniteError:
    counts = {name: int((~image.isfinite()).sum()) for name, image in (("reference", x_BCHW), ("estimate", y_BCHW))}
    what = " and ".join(f"{count} values of the {name}" for name, count in counts.items() if count)
    cure = "lower the learning rate or use a wider number type if a network made them"
    if counts["reference"]:
        cure = "give a mask that is false where there is no data"
    return NotFiniteError(f"{what or 'sums'} are NaN or infinite", where="metrics", cure=cure)
