"""Consistency by construction: the result, degraded, is the measured band.

    x' = x + U z,   z = (D U)^-1 (measured - D x)

D is the degradation, U repeats each coarse pixel over its box. D U is a short symmetric filter along rows and along
columns of the coarse grid; models/backproject.py has its inverse, which is short too. So the correction is local,
with a reach that is stated, and does not depend on the tiling.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import correlate1d

from hpc_sr.infer.windows import Area, read_mirrored
from hpc_sr.models.backproject import inverse_taps
from hpc_sr.sentinel2.degrade import Kernel, degrade, support_px, taps_of_bands


@dataclass(frozen=True)
class BackProjection:
    """The correction for one degradation: `inverses` (C, 2 reach + 1) of D U along an axis."""

    law: Kernel
    inverses: np.ndarray

    @classmethod
    def of(cls, law: Kernel) -> BackProjection:
        """Return the correction that makes images consistent under a degradation."""
        return cls(law, inverse_taps(torch.from_numpy(taps_of_bands(law)), law.scale).numpy())

    @property
    def reach(self) -> int:
        """Coarse pixels beyond a corrected one whose residuals matter."""
        return self.inverses.shape[1] // 2

    @property
    def margin_px(self) -> int:
        """Fine pixels, whole coarse ones, that must be predicted around what is corrected."""
        return (self.reach + self._support) * self.law.scale

    def around(self, core: Area, height: int, width: int) -> Area:
        """Return the coarse pixels that must be predicted and measured to correct those of `core`."""
        return core.grown(self.margin_px // self.law.scale).within(height, width)

    def correct(
        self, estimate_CHW: np.ndarray, measured_Chw: np.ndarray, core: Area, height: int, width: int
    ) -> np.ndarray:
        """Return the corrected bands (C, H', W'), float32, of the fine pixels of `core`.

        The estimate (fine) and the measured bands (coarse) are of `around(core, height, width)`; core, height and
        width are in coarse pixels of the image.
        """
        scale, around = self.law.scale, self.around(core, height, width)
        residual = measured_Chw - degrade(estimate_CHW.astype(np.float64), self.law)
        # Where `around` ends inside the image D looked at mirrored pixels that are not there: beyond the reach.
        seen = read_mirrored(
            lambda inside: residual[(slice(None), *inside.relative_to(around).slices)],
            core.grown(self.reach),
            height,
            width,
        )
        corrected = estimate_CHW[(slice(None), *core.relative_to(around).times(scale).slices)].copy()
        kept = slice(self.reach, self.reach + core.height), slice(self.reach, self.reach + core.width)
        for plane, values, inverse in zip(corrected, seen, self.inverses, strict=True):
            for axis in (0, 1):
                values = correlate1d(values, inverse, axis=axis, mode="constant")
            plane += np.repeat(np.repeat(values[kept], scale, 0), scale, 1).astype(np.float32)
        return corrected

    @property
    def _support(self) -> int:
        """Coarse pixels beyond its own that a coarse pixel depends on."""
        return -(-support_px(self.law) // self.law.scale)
