"""Gradient maps: how steep an image is at each pixel, as networks and losses see it."""

from __future__ import annotations

import torch
import torch.nn.functional as F

#: Keeps the root's slope bounded where an image is flat.
_EPSILON = 1e-6


def gradient_map(x_BCHW: torch.Tensor) -> torch.Tensor:
    """Return sqrt(d_h^2 + d_w^2 + 1e-6) of each band, d the difference of a pixel's two neighbours along an axis.

    Zeros stand around the image. Shapes: (B, C, H, W) -> (B, C, H, W). Computed in float32 or better; differentiable.
    Source: RRSGAN, Dong et al. 2022, https://doi.org/10.1109/TGRS.2020.3046045.
    """
    padded = F.pad(x_BCHW if x_BCHW.dtype == torch.float64 else x_BCHW.float(), (1, 1, 1, 1))
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    return (down.square() + across.square() + _EPSILON).sqrt()
