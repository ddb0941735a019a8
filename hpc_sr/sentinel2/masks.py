"""What in a band is no measurement: nodata and saturation.

DN carry two special values, read from the metadata. A 15-bit JPEG2000 cannot hold SATURATED = 65535: the processor
clamps to 32767, and from baseline 04.00 on the quality masks, which safe.py reads, tell the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_sr.sentinel2.radiometry import MAX_REFLECTANCE

#: The largest DN of a product, where the processor clamps: a pixel there was not measured.
FULL_SCALE_DN = 2**15 - 1


@dataclass(frozen=True)
class Invalid:
    """Two boolean masks (H, W) of one band: outside the swath, and not measured because the detector was full."""

    nodata: np.ndarray
    saturated: np.ndarray

    @property
    def any(self) -> np.ndarray:
        return self.nodata | self.saturated


def special_values(
    dn: np.ndarray, radiometric_offset: float, quantification_value: float, nodata_dn: int, saturated_dn: int
) -> dict[str, np.ndarray]:
    """Return where the DN of a band say nodata and saturated, (H, W) each.

    Some products (baseline 02.08) state a SATURATED value such as 6, which is a measurement of dark ground: a special
    value inside the range of measurements is not believed.
    """
    largest = MAX_REFLECTANCE * quantification_value - radiometric_offset
    saturated = dn >= min(FULL_SCALE_DN, int(largest) + 1)
    if saturated_dn < 1 and nodata_dn != saturated_dn:
        saturated |= dn == saturated_dn
    nodata = dn == nodata_dn
    return {"nodata": nodata, "saturated": saturated & ~nodata}


def invalid(
    dn: np.ndarray,
    radiometric_offset: float,
    quantification_value: float,
    nodata_dn: int,
    saturated_dn: int,
    quality: np.ndarray | None,
) -> Invalid:
    """Return the masks of one band; `quality` is the product's own saturation mask on this grid, if it has one."""
    masks = special_values(dn, radiometric_offset, quantification_value, nodata_dn, saturated_dn)
    if quality is not None:
        masks["saturated"] |= quality & ~masks["nodata"]
    return Invalid(masks["nodata"], masks["saturated"])
