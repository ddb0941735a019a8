"""Brightness and colour of pictures (ITU-R BT.601): what networks see that were published for brightness alone.

Shapes: (B, 3, H, W) red, green, blue in 0..1. Sums of products, no convolutions: TF32 would round them.
"""

from __future__ import annotations

import torch

from hpc_sr.tasks import RGB

#: The mean colour of UC Merced's pictures, which networks published for them take off and add again.
UC_MERCED_MEAN = (0.4916, 0.4991, 0.4565)
#: Y of red, green and blue, and of black, in levels of 8 bits: what MATLAB's rgb2ycbcr does, 16..235.
_LUMA, _BLACK = (65.481, 128.553, 24.966), 16.0
#: Y, Cb and Cr over the whole range, as JPEG has them; Cb and Cr are 0.5 for grey.
_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def luma(rgb_B3HW: torch.Tensor) -> torch.Tensor:
    """Return the brightness (B, 1, H, W), 16/255 of black to 235/255 of white."""
    return (_mixed(rgb_B3HW, (_LUMA,)) + _BLACK) / 255


def with_luma(rgb_B3HW: torch.Tensor, luma_B1HW: torch.Tensor) -> torch.Tensor:
    """Return the picture with another brightness and the Cb and Cr that it has: R, G and B change alike."""
    return rgb_B3HW + (luma_B1HW - luma(rgb_B3HW)) * (255 / sum(_LUMA))


def ycbcr(rgb_B3HW: torch.Tensor) -> torch.Tensor:
    """Return Y, Cb and Cr in 0..1."""
    y, cb, cr = _mixed(rgb_B3HW, _YCBCR).split(1, 1)
    return torch.cat([y, cb + 0.5, cr + 0.5], 1)


def rgb_of(ycbcr_B3HW: torch.Tensor) -> torch.Tensor:
    """Return the picture of Y, Cb and Cr in 0..1."""
    y, cb, cr = ycbcr_B3HW.split(1, 1)
    return _mixed(torch.cat([y, cb - 0.5, cr - 0.5], 1), _RGB)


def _mixed(planes_B3HW: torch.Tensor, rows: tuple[tuple[float, float, float], ...]) -> torch.Tensor:
    first, second, third = planes_B3HW.split(1, 1)
    return torch.cat([first * a + second * b + third * c for a, b, c in rows], 1)


def mean_colour(bands: tuple[str, ...], mean: tuple[float, float, float]) -> torch.Tensor:
    """Return the mean (1, C, 1, 1) of red, green and blue in 0..1; of other bands, whose mean is not known, zeros."""
    return torch.tensor(mean if bands == RGB else (0.0,) * len(bands)).view(1, -1, 1, 1)
