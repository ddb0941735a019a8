"""What in a band is no measurement: nodata and saturation.

DN carry two special values, read from the metadata. A 15-bit JPEG2000 cannot hold SATURATED = 65535, so from baseline
04.00 on saturation is told by the quality masks, which safe.py reads; here they are only put together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_sr.sentinel2.radiometry import MAX_REFLECTANCE


@dataclass(frozen=True)
class Invalid:
    """Two boolean masks (H, W) of one band: outside the swath, and not measured because the detector was full."""

    nodata: np.ndarray
    saturated: np.ndarray

    @property
    def any(self) -> np.ndarray:
        return self.nodata | self.saturated


def invalid(
    dn: np.ndarray, reflectance: np.ndarray, nodata_dn: int, saturated_dn: int, quality: np.ndarray | None
) -> Invalid:
    """Return the masks of one band; `quality` is the product's own saturation mask on this grid, if it has one."""
    nodata = dn == nodata_dn
    saturated = (dn == saturated_dn) | (reflectance > MAX_REFLECTANCE)
    if quality is not None:
        saturated |= quality
    return Invalid(nodata, saturated & ~nodata)
