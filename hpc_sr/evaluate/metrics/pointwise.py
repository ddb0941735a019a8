"""Sums over pixels: brightness, error, the products that correlation needs, and angles between band vectors.

Shapes: x_BCHW = batch, bands, rows, columns, float64. Pixels that do not count are 0 in both images.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

import torch


def band_sums(*images_BCHW: torch.Tensor) -> list[torch.Tensor]:
    """Return the sum over pixels of each band, for each image."""
    return [image_BCHW.sum(dim=(0, 2, 3)) for image_BCHW in images_BCHW]


def angle_sums(x_BCHW: torch.Tensor, y_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sum of the angles between the pixels' vectors in degrees, and how many pixels have one.

    2 atan2(| |y|x - |x|y |, | |y|x + |x|y |) (Kahan): unlike arccos exact for small angles, and 0 for equal vectors.
    """
    length_x, length_y = _length(x_BCHW.unbind(1)), _length(y_BCHW.unbind(1))
    scaled = [(x * length_y, y * length_x) for x, y in zip(x_BCHW.unbind(1), y_BCHW.unbind(1), strict=True)]
    difference, mean = _length(u - v for u, v in scaled), _length(u + v for u, v in scaled)
    angles_deg = torch.rad2deg(2 * torch.atan2(difference, mean))
    # atan2(0, 0) is 0: a zero vector adds nothing to the sum, and here nothing to the count.
    return angles_deg.sum(), (length_x * length_y > 0).sum()


def count_pixels(x_BCHW: torch.Tensor, valid_BHW: torch.Tensor | None) -> torch.Tensor:
    """Return how many pixels are valid; all are where there is no mask."""
    return torch.ones_like(x_BCHW[:, 0]).sum() if valid_BHW is None else valid_BHW.sum()


def brightest(x_BCHW: torch.Tensor, valid_BHW: torch.Tensor | None) -> float:
    """Return the greatest value that a band has in a valid pixel, -infinity where no pixel is."""
    if valid_BHW is not None:
        x_BCHW = x_BCHW.masked_fill(~valid_BHW[:, None], float("-inf"))
    return x_BCHW.max().item() if x_BCHW.numel() else float("-inf")


def _length(components: Iterable[torch.Tensor]) -> torch.Tensor:
    """Return the vectors' lengths. By components: a reduction over the middle axis takes ten times as long."""
    return reduce(torch.add, (component * component for component in components)).sqrt()
