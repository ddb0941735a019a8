"""What a file holds: DN in the source's own convention, or reflectance, and nodata where the source has it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_sr.infer.images import Radiometry
from hpc_sr.sentinel2.radiometry import to_dn
from hpc_sr.tasks import REFLECTANCE_ONE

#: The convention of products since baseline 04.00, for sources whose DN are no uint16.
_USUAL = Radiometry(-1000.0, 10_000.0, 0)


@dataclass(frozen=True)
class Encoding:
    """How the reflectance of one band is stored: `dtype` uint16 or float32; reflectance = value * scale + offset."""

    dtype: str
    law: Radiometry
    source: Radiometry
    keeps_dn: bool

    @property
    def scale(self) -> float:
        return 1.0 if self.dtype == "float32" else 1.0 / self.law.quantification

    @property
    def offset(self) -> float:
        return 0.0 if self.dtype == "float32" else self.law.offset / self.law.quantification

    @property
    def nodata(self) -> float:
        return float("nan") if self.dtype == "float32" else float(self.law.nodata or 0)

    def native(self, dn: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Return a measured band: the same DN where the convention is the source's."""
        if self.dtype == "uint16" and self.keeps_dn:
            return np.where(missing, np.uint16(self.nodata), dn).astype(np.uint16)
        return self.sharpened(self.source.stored(dn), missing)

    def sharpened(self, stored: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Return a predicted band, given reflectance x 10 000. DN are clipped to 1..65534, never nodata by chance."""
        reflectance = stored / np.float32(REFLECTANCE_ONE)
        if self.dtype == "float32":
            return np.where(missing, np.float32(np.nan), reflectance).astype(np.float32)
        dn = to_dn(np.where(missing, np.float32(0), reflectance), self.law.offset, self.law.quantification)
        dn[dn == self.nodata] += 1
        dn[missing] = self.nodata
        return dn

    def spread(self, stored: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Return a standard deviation: as `sharpened`, without the offset."""
        law = Radiometry(0.0, self.law.quantification, self.law.nodata)
        return Encoding(self.dtype, law, law, self.keeps_dn).sharpened(stored, missing)


def encoding_of(source: Radiometry, dn_type: str, dtype: str) -> Encoding:
    """Return how a band of such a source, with DN of such a type, is stored as `dtype`."""
    keeps_dn = dn_type in ("uint8", "uint16")
    return Encoding(dtype, source if keeps_dn else _USUAL, source, keeps_dn)
