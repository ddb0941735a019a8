"""Metrics as float64 sums: windows, batches and ranks add up first, then every score is computed once.

A mean of RMSEs over windows is no RMSE, so nothing here averages scores. One ImageSums holds what one image needs;
add those of its windows, sum their vectors over ranks, `finish` them. Values are reflectance x 10 000 throughout.

Shapes: x_BCHW = batch, bands, rows, columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from hpc_sr.errors import NotFiniteError, ShapeError
from hpc_sr.evaluate import structure
from hpc_sr.tasks import REFLECTANCE_ONE

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
    "ergas_ratio": "1 / scale",
}

_PEAK = float(REFLECTANCE_ONE)

#: The sums in the order of the vector, and whether there is one for each band.
_SUMS = {
    "pixels": False, "reference": True, "error": True, "squared_error": True,
    "angle_deg": False, "angle_pixels": False, "ssim": True, "ssim_windows": False, "uiq": True, "uiq_windows": False,
}  # fmt: skip

# A variance of the error below this share of the squared bias is the rounding of the sums, not detail.
_ROUNDING = 1e-12

#: First row and row after the last, first column and column after the last.
_Bounds = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, eq=False)
class ImageSums:
    """What the scores of one image are computed from; those of its disjoint parts add up to those of the whole."""

    bands: int
    values: np.ndarray

    @classmethod
    def zero(cls, bands: int) -> ImageSums:
        """Return the sums over no pixel."""
        return cls(bands, np.zeros(sum(bands if per_band else 1 for per_band in _SUMS.values())))

    @classmethod
    def from_vector(cls, vector: np.ndarray, bands: int) -> ImageSums:
        """Return the sums that `vector` holds. Raises ShapeError if its length is not that of `bands` bands."""
        expected = cls.zero(bands).values.shape
        if np.shape(vector) != expected:
            raise ShapeError(f"a vector of shape {np.shape(vector)} is not the sums of {bands} bands, {expected}")
        return cls(bands, np.array(vector, np.float64))

    def vector(self) -> np.ndarray:
        """Return the sums as one float64 vector: the vectors of several ranks may be added."""
        return self.values.copy()

    def __add__(self, other: ImageSums) -> ImageSums:
        """Return the sums over both. Raises ShapeError if the other has another number of bands."""
        return ImageSums(self.bands, self.values + ImageSums.from_vector(other.values, self.bands).values)

    def __getitem__(self, name: str) -> np.ndarray:
        """Return the sum called `name`: one number, or one for each band."""
        names = list(_SUMS)
        widths = [self.bands if per_band else 1 for per_band in _SUMS.values()]
        start = sum(widths[: names.index(name)])
        return self.values[start : start + widths[names.index(name)]]


@torch.no_grad()
def measure(
    reference: torch.Tensor,
    estimate: torch.Tensor,
    mask: torch.Tensor | None = None,
    core: tuple[slice, slice] | None = None,
) -> ImageSums:
    """Return the sums of one image, of one window of it, or of a batch of small ones.

    Pointwise metrics count the pixels of `core` (rows, columns; None is everything). SSIM and UIQ count the windows
    whose centre lies in the core and which lie wholly in the arrays: bring CONTEXT_PX pixels around the core, fewer
    only where the image ends, and any tiling gives the sums of the whole image. Where `mask` is false a pixel is not
    counted, nor any window that holds it; its value may be NaN.

    Shapes: (C, H, W) or (B, C, H, W) on any device; mask (H, W) or (B, H, W). The work is done in float64 and takes
    some ten times the images' memory in that type, so large images are best given by windows.
    Raises ShapeError if the shapes do not fit; NotFiniteError for NaN or infinity in a pixel that counts.
    """
    x_BCHW, y_BCHW, valid_BHW = _as_batch(reference, estimate, mask)
    bands, height, width = x_BCHW.shape[1:]
    rows, columns = core or (slice(None), slice(None))
    bounds = rows.indices(height)[:2], columns.indices(width)[:2]

    parts = [
        *_pointwise(x_BCHW, y_BCHW, valid_BHW, bounds),
        *_windowed(structure.ssim_map, structure.SSIM_WINDOW_PX, x_BCHW, y_BCHW, valid_BHW, bounds),
        *_windowed(structure.uiq_map, structure.UIQ_WINDOW_PX, x_BCHW, y_BCHW, valid_BHW, bounds),
    ]
    values = torch.cat([part.double().reshape(-1) for part in parts]).cpu().numpy()
    if not np.isfinite(values).all():
        raise _not_finite(x_BCHW, y_BCHW)
    return ImageSums(bands, values)


def finish(sums: ImageSums, bands: tuple[str, ...], scale: int) -> dict:
    """Return the scores of one image: {"total": {...}, "bands": {name: {...}}, "pixels": count}.

    Per band, with e = estimate - reference and MSE = mean e^2:
      bias   mean e (positive: too bright)      rmse   sqrt(MSE)
      sre    10 log10(mean(reference)^2 / MSE), dB
      psnr   10 log10(max^2 / MSE), dB, max = 10 000
      bpsnr  10 log10(max^2 / (MSE - bias^2)), dB: PSNR once the brightness is equalised
      ssim, uiq   mean over windows

    Total: rmse is the root of the mean over bands and pixels, rmse_band_mean the mean of the bands' RMSE; psnr and
    bpsnr are taken of the mean over bands of MSE and MSE - bias^2; sre, ssim, uiq are means of the bands' values;
      sam    mean angle between the pixels' band vectors, degrees, zero vectors left out
      ergas  100 / scale sqrt(mean over bands of MSE / mean(reference)^2); ergas_ratio_free has 100 in its place

    A score that does not exist is None, which JSON can hold: the infinite decibels of a perfect estimate, a ratio to
    a mean of zero, anything of no pixels or, for ssim and uiq, of no whole window.
    Raises ShapeError if `bands` is not as long as the sums are wide.
    """
    if len(bands) != sums.bands:
        raise ShapeError(f"{len(bands)} band names meet sums of {sums.bands} bands")
    # The sums are finite, so what is not finite below is a score that does not exist.
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, bias, mse = (sums[name] / sums["pixels"] for name in ("reference", "error", "squared_error"))
        detail = mse - bias**2
        detail = np.where(detail > _ROUNDING * bias**2, detail, 0.0 * bias)
        per_band = {
            "rmse": np.sqrt(mse), "sre": _decibels(mean**2 / mse), "psnr": _decibels(_PEAK**2 / mse),
            "bpsnr": _decibels(_PEAK**2 / detail), "ssim": sums["ssim"] / sums["ssim_windows"],
            "uiq": sums["uiq"] / sums["uiq_windows"], "bias": bias,
        }  # fmt: skip
        relative = np.sqrt(np.mean(mse / mean**2))
        total = {
            "rmse": np.sqrt(mse.mean()), "rmse_band_mean": per_band["rmse"].mean(), "sre": per_band["sre"].mean(),
            "sam": (sums["angle_deg"] / sums["angle_pixels"]).item(),
            "ergas": 100.0 / scale * relative, "ergas_ratio_free": 100.0 * relative,
            "psnr": _decibels(_PEAK**2 / mse.mean()), "bpsnr": _decibels(_PEAK**2 / detail.mean()),
            "ssim": per_band["ssim"].mean(), "uiq": per_band["uiq"].mean(),
        }  # fmt: skip
    return {
        "total": {name: _number_or_none(value) for name, value in total.items()},
        "bands": {
            band: {name: _number_or_none(values[index]) for name, values in per_band.items()}
            for index, band in enumerate(bands)
        },
        "pixels": int(sums["pixels"].item()),
    }


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


def _pointwise(
    x_BCHW: torch.Tensor, y_BCHW: torch.Tensor, valid_BHW: torch.Tensor | None, bounds: _Bounds
) -> tuple[torch.Tensor, ...]:
    """Return the number of pixels, the per-band sums of reference, error and squared error, and the angles' sums."""
    core = (..., *(slice(*bound) for bound in bounds))
    x_BCHW, y_BCHW = x_BCHW[core].double(), y_BCHW[core].double()
    pixels = torch.ones_like(x_BCHW[:, 0]).sum() if valid_BHW is None else valid_BHW[core].sum()
    error_BCHW = y_BCHW - x_BCHW
    sums = (part.sum(dim=(0, 2, 3)) for part in (x_BCHW, error_BCHW, error_BCHW * error_BCHW))
    return pixels, *sums, *_angles(x_BCHW, y_BCHW)


def _angles(x_BCHW: torch.Tensor, y_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sum of the angles between the pixels' vectors in degrees, and how many pixels have one.

    2 atan2(| |y|x - |x|y |, | |y|x + |x|y |) (Kahan): unlike arccos exact for small angles, and 0 for equal vectors.
    """
    length_x, length_y = _length(x_BCHW.unbind(1)), _length(y_BCHW.unbind(1))
    scaled = [(x * length_y, y * length_x) for x, y in zip(x_BCHW.unbind(1), y_BCHW.unbind(1), strict=True)]
    difference, mean = _length(u - v for u, v in scaled), _length(u + v for u, v in scaled)
    angles_deg = torch.rad2deg(2 * torch.atan2(difference, mean))
    # atan2(0, 0) is 0: a zero vector adds nothing to the sum, and here nothing to the count.
    return angles_deg.sum(), (length_x * length_y > 0).sum()


def _length(components: Iterable[torch.Tensor]) -> torch.Tensor:
    """Return the vectors' lengths. By components: a reduction over the middle axis takes ten times as long."""
    return sum(component * component for component in components).sqrt()


def _windowed(
    quality_map: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    window_px: int,
    x_BCHW: torch.Tensor,
    y_BCHW: torch.Tensor,
    valid_BHW: torch.Tensor | None,
    bounds: _Bounds,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the per-band sums of the map over whole windows centred in the core, and the number of these windows."""
    reach = window_px // 2
    around = (..., *(slice(max(start - reach, 0), stop + reach) for start, stop in bounds))
    x_BCHW, y_BCHW = x_BCHW[around], y_BCHW[around]
    if min(x_BCHW.shape[-2:]) < window_px:
        return x_BCHW.new_zeros(x_BCHW.shape[1]), x_BCHW.new_zeros(1)
    whole = None if valid_BHW is None else structure.whole_windows(valid_BHW[around], window_px)
    sums = []
    for x_BHW, y_BHW in zip(x_BCHW.unbind(1), y_BCHW.unbind(1), strict=True):
        quality = quality_map(x_BHW.double(), y_BHW.double())
        whole = torch.ones_like(quality, dtype=torch.bool) if whole is None else whole
        sums.append(torch.where(whole, quality, 0.0).sum())
    return torch.stack(sums), whole.sum()


def _not_finite(x_BCHW: torch.Tensor, y_BCHW: torch.Tensor) -> NotFiniteError:
    counts = {name: int((~image.isfinite()).sum()) for name, image in (("reference", x_BCHW), ("estimate", y_BCHW))}
    what = " and ".join(f"{count} values of the {name}" for name, count in counts.items() if count)
    cure = "lower the learning rate or use a wider number type if a network made them"
    if counts["reference"]:
        cure = "give a mask that is false where there is no data"
    return NotFiniteError(f"{what or 'sums'} are NaN or infinite", where="metrics", cure=cure)


def _decibels(ratio: np.ndarray) -> np.ndarray:
    return 10.0 * np.log10(ratio)


def _number_or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
