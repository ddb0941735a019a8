"""Consistency by construction: the result, degraded, is the measured band.

    x' = x + U z,   z = (D U)^-1 (measured - D x)

D is the degradation, U repeats each coarse pixel over its box. D U is a short symmetric filter along rows and along
columns of the coarse grid; its inverse falls off exponentially and is cut where what is left out is below 1e-8. So
the correction is local, with a reach that is stated, and does not depend on the tiling.
"""

from __future__ import annotations

import torch
from torch import nn

from hpc_sr.models.filters import Taps, at_least_float32, coarse_support_px, correlated, degraded, nearest, taps_of

#: The sum of the inverse filter's taps that may be cut off: 1e-5 DN of a residual of 1000 DN.
_CUT = 1e-8
_FREQUENCIES = 4096


class BackProjection(nn.Module):
    """Makes estimates consistent with what was measured. It has no parameters and any unit; gradients flow.

    `taps` (C, N) are the law's along an axis for each band. A corrected pixel depends on the estimate and on the
    measured bands up to `reach_px` target pixels around its coarse pixel, a multiple of the scale.
    """

    taps: torch.Tensor
    inverse: torch.Tensor

    def __init__(self, scale: int, taps: Taps):
        super().__init__()
        taps_CN = taps_of(taps)
        inverse = inverse_taps(taps_CN, scale)
        self.scale = scale
        self.reach_px = scale * (inverse.shape[1] // 2 + coarse_support_px(taps_CN, scale))
        # Facts, not something learned: they are on the card, and weights load with and without them.
        self.register_buffer("taps", taps_CN, persistent=False)
        self.register_buffer("inverse", inverse, persistent=False)

    def forward(self, estimate_BCHW: torch.Tensor, measured_BChw: torch.Tensor) -> torch.Tensor:
        estimate, measured = at_least_float32(estimate_BCHW), at_least_float32(measured_BChw)
        missing = correlated(measured - degraded(estimate, self.taps, self.scale), self.inverse)
        return estimate + nearest(missing, self.scale)


def inverse_taps(taps_CN: torch.Tensor, scale: int) -> torch.Tensor:
    """Return the inverses of D U along an axis, (C, 2 r + 1) float64, for the law's taps: r coarse pixels matter."""
    count, reach = taps_CN.shape[1], coarse_support_px(taps_CN, scale)
    beyond = (scale * (2 * reach + 1) - count) // 2
    boxes = nn.functional.pad(taps_CN.double(), (beyond, beyond)).unflatten(1, (-1, scale)).sum(2)
    # What D makes of a coarse pixel that U repeats, on a ring so long that its ends do not meet.
    ring = nn.functional.pad(boxes, (0, _FREQUENCIES - boxes.shape[1])).roll(-reach, 1)
    inverse = torch.fft.ifft(1.0 / torch.fft.fft(ring).real).real[:, : _FREQUENCIES // 2]
    left_out = 2 * inverse.abs().flip(1).cumsum(1).flip(1).amax(0)
    needed = int((left_out < _CUT).int().argmax())
    return torch.cat((inverse[:, 1 : needed + 1].flip(1), inverse[:, : needed + 1]), 1)
