"""What anybody gets without training: the yardsticks of every table. x_BCHW: batch, bands, rows, columns.

Each interpolation says how many coarse pixels it looks at around the one that a fine pixel lies in. A window that
brings that many on each side, fewer only where the image ends, gives the values of the whole image.
"""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate

from hpc_sr.models.blocks import bilinear

__all__ = ["BICUBIC_REACH_PX", "BILINEAR_REACH_PX", "NEAREST_REACH_PX", "bicubic", "bilinear", "nearest"]

#: Coarse pixels that an interpolation looks at on each side.
NEAREST_REACH_PX, BILINEAR_REACH_PX, BICUBIC_REACH_PX = 0, 1, 2


def nearest(x_BCHW: torch.Tensor, scale: int) -> torch.Tensor:
    """Return the image on a grid `scale` times finer: each fine pixel has the value of the coarse one it lies in.

    Shapes: (B, C, H, W) -> (B, C, scale H, scale W). Units and type as given; NaN stays where it is.
    """
    return x_BCHW.repeat_interleave(scale, dim=-2).repeat_interleave(scale, dim=-1)


def bicubic(x_BCHW: torch.Tensor, scale: int) -> torch.Tensor:
    """Return the image on a grid `scale` times finer, by cubic convolution with a = -0.5.

    Pixel areas keep their places (a coarse pixel covers its scale x scale fine ones). At the border the weights of
    the pixels that exist are normalised. Source: Keys, IEEE TASSP 1981. `antialias` changes nothing in an enlargement
    but the kernel: without it the library takes a = -0.75.

    Shapes: (B, C, H, W) -> (B, C, scale H, scale W). Units and float type as given; may overshoot the input's range.
    """
    return interpolate(x_BCHW, scale_factor=scale, mode="bicubic", align_corners=False, antialias=True)
