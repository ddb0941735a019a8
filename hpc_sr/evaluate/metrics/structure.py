"""SSIM and UIQ, one value per window: the two metrics that look at neighbourhoods.

Shapes: B images of one band, H, W. All in float64: a bright and nearly flat window has a variance a billion times
smaller than its mean square. A map holds one value per window that lies wholly in the image, at its centre pixel.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from hpc_sr.tasks import REFLECTANCE_ONE

SSIM_WINDOW_PX, SSIM_SIGMA_PX = 11, 1.5
SSIM_K1, SSIM_K2 = 0.01, 0.03
UIQ_WINDOW_PX = 7

# A variance below this share of the mean square is rounding: float64 sums of 49 terms err by about 5e-15 of it, and
# one unit in one pixel of a window of 10 000 gives 2e-10.
_FLAT = 1e-13


class _Moments(NamedTuple):
    """Of each window: both means, the sum of the mean squares, the sum of the variances, and the covariance."""

    mean_x: torch.Tensor
    mean_y: torch.Tensor
    squares: torch.Tensor
    variances: torch.Tensor
    covariance: torch.Tensor


def ssim_map(reference_BHW: torch.Tensor, estimate_BHW: torch.Tensor, peak: float = REFLECTANCE_ONE) -> torch.Tensor:
    """Return the structural similarity of every 11 x 11 Gaussian window (sigma 1.5 px), -1..1.

    (2 mx my + c1)(2 sxy + c2) / ((mx^2 + my^2 + c1)(sx^2 + sy^2 + c2)), c1 = (0.01 peak)^2, c2 = (0.03 peak)^2,
    with population (co)variances. Source: Wang et al., IEEE TIP 2004, https://doi.org/10.1109/TIP.2003.819861.

    Shapes: (B, H, W) -> (B, H - 10, W - 10).
    """
    m = _moments(reference_BHW, estimate_BHW, gaussian_taps(SSIM_WINDOW_PX, SSIM_SIGMA_PX))
    c1, c2 = (SSIM_K1 * peak) ** 2, (SSIM_K2 * peak) ** 2
    luminance = (2 * m.mean_x * m.mean_y + c1) / (m.mean_x**2 + m.mean_y**2 + c1)
    return luminance * (2 * m.covariance + c2) / (m.variances + c2)


def uiq_map(reference_BHW: torch.Tensor, estimate_BHW: torch.Tensor) -> torch.Tensor:
    """Return the universal image quality index of every 7 x 7 window, -1..1: SSIM without constants.

    2 mx my / (mx^2 + my^2) times 2 sxy / (sx^2 + sy^2). A factor whose denominator is 0 is left out: where both
    windows are flat the luminance alone counts, where both means are 0 the structure alone; two of zeros score 1.
    Source: Wang and Bovik, IEEE SPL 2002, https://doi.org/10.1109/97.995823.

    Shapes: (B, H, W) -> (B, H - 6, W - 6).
    """
    m = _moments(reference_BHW, estimate_BHW, [1.0 / UIQ_WINDOW_PX] * UIQ_WINDOW_PX)
    variances = torch.where(m.variances > _FLAT * m.squares, m.variances, 0.0)
    luminance = _ratio_or_one(2 * m.mean_x * m.mean_y, m.mean_x**2 + m.mean_y**2)
    return luminance * _ratio_or_one(2 * m.covariance, variances)


def whole_windows(valid_BHW: torch.Tensor, window_px: int) -> torch.Tensor:
    """Return, per window, whether all its pixels are valid. Shapes: (B, H, W) -> (B, H - k + 1, W - k + 1)."""
    for dim in (-1, -2):
        valid_BHW = valid_BHW.unfold(dim, window_px, 1).all(-1)
    return valid_BHW


def _moments(x_BHW: torch.Tensor, y_BHW: torch.Tensor, taps: list[float]) -> _Moments:
    stack = torch.stack((x_BHW, y_BHW, x_BHW**2 + y_BHW**2, x_BHW * y_BHW))
    mean_x, mean_y, squares, product = filter_whole(stack, taps)
    return _Moments(mean_x, mean_y, squares, squares - mean_x**2 - mean_y**2, product - mean_x * mean_y)


def filter_whole(image: torch.Tensor, taps: list[float]) -> torch.Tensor:
    """Return the image filtered by k taps along both last axes, whole windows only: H - k + 1, W - k + 1 px.

    Shifted adds: the library's float64 convolution takes thrice the time or more.
    """
    for dim in (-1, -2):
        length = image.shape[dim] - len(taps) + 1
        out = image.narrow(dim, 0, length) * taps[0]
        for start, tap in enumerate(taps[1:], start=1):
            out.add_(image.narrow(dim, start, length), alpha=tap)
        image = out
    return image


def gaussian_taps(window_px: int, sigma_px: float) -> list[float]:
    """Return a sampled Gaussian of an odd number of taps that add up to 1."""
    radius = window_px // 2
    taps = [math.exp(-0.5 * (offset / sigma_px) ** 2) for offset in range(-radius, radius + 1)]
    return [tap / sum(taps) for tap in taps]


def _ratio_or_one(numerator: torch.Tensor, denominator: torch.Tensor) -> torch.Tensor:
    defined = denominator > 0
    return torch.where(defined, numerator / torch.where(defined, denominator, 1.0), 1.0)
