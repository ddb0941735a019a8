"""The eight symmetries of the square, applied alike to all layers of a sample."""

from __future__ import annotations

import torch


def dihedral(x_BCHW: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Return each sample turned by its code: bit 0 flips rows, bit 1 flips columns, bit 2 swaps the axes afterwards.

    Layers of all strides stay co-registered: the symmetry is of the patch, not of the pixel.
    """
    out = torch.empty_like(x_BCHW)
    for code in range(8):
        chosen = (codes == code).nonzero(as_tuple=True)[0]
        if len(chosen):
            out[chosen] = _turn(x_BCHW[chosen], code)
    return out


def _turn(x_BCHW: torch.Tensor, code: int) -> torch.Tensor:
    flipped = [axis for bit, axis in ((1, 2), (2, 3)) if code & bit]
    x_BCHW = x_BCHW.flip(flipped) if flipped else x_BCHW
    return x_BCHW.transpose(2, 3) if code & 4 else x_BCHW
