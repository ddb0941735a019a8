"""The eight symmetries of the square, applied alike to all layers of a sample."""

from __future__ import annotations

import torch


def dihedral(x_BCHW: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Return each sample turned by its code: bit 0 flips rows, bit 1 flips columns, bit 2 swaps the axes afterwards.

    Layers of all strides stay co-registered: the symmetry is of the patch, not of the pixel. No value of `codes` is
    looked at on the host, so a GPU need not be waited for.
    """
    rows, columns, axes = ((codes & bit).bool().view(-1, 1, 1, 1) for bit in (1, 2, 4))
    x_BCHW = torch.where(rows, x_BCHW.flip(2), x_BCHW)
    x_BCHW = torch.where(columns, x_BCHW.flip(3), x_BCHW)
    return torch.where(axes, x_BCHW.transpose(2, 3), x_BCHW)
