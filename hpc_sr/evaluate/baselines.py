"""What anybody gets without training: the yardsticks of every table. x_BCHW: batch, bands, rows, columns."""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate


def bicubic(x_BCHW: torch.Tensor, scale: int) -> torch.Tensor:
    """Return the image on a grid `scale` times finer, by cubic convolution with a = -0.5.

    Pixel areas keep their places (a coarse pixel covers its scale x scale fine ones). At the border the weights of
    the pixels that exist are normalised. Source: Keys, IEEE TASSP 1981. `antialias` changes nothing in an enlargement
    but the kernel: without it the library takes a = -0.75.

    Shapes: (B, C, H, W) -> (B, C, scale H, scale W). Units and float type as given; may overshoot the input's range.
    """
    return interpolate(x_BCHW, scale_factor=scale, mode="bicubic", align_corners=False, antialias=True)
