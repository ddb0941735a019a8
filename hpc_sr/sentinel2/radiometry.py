"""DN and reflectance.

    reflectance = (DN + radiometric_offset) / quantification_value

Offset and quantification come from the product's metadata, per band; reflectance may be below 0 or above 1.
Patches keep reflectance x 10 000 as int16, so products of all baselines mix and negative values survive.
"""

from __future__ import annotations

import numpy as np

from hpc_sr.tasks import REFLECTANCE_ONE

#: The largest reflectance that a patch can hold; beyond it a pixel counts as saturated.
MAX_REFLECTANCE = np.iinfo(np.int16).max / REFLECTANCE_ONE


def to_reflectance(dn: np.ndarray, radiometric_offset: float, quantification_value: float) -> np.ndarray:
    """Return reflectance (float32) of digital numbers of one band. Special values are not looked at: see masks."""
    return (dn.astype(np.float32) + np.float32(radiometric_offset)) * np.float32(1.0 / quantification_value)


def to_dn(reflectance: np.ndarray, radiometric_offset: float, quantification_value: float) -> np.ndarray:
    """Return digital numbers (uint16) of reflectance of one band, rounded, in 1..65534: never a special value."""
    dn = np.rint(np.asarray(reflectance, np.float64) * quantification_value - radiometric_offset)
    return np.clip(dn, 1, 65534).astype(np.uint16)


def to_stored(values: np.ndarray, radiometric_offset: float = 0.0, quantification_value: float = 1.0) -> np.ndarray:
    """Return reflectance x 10 000 as int16, rounded, of DN (whole or degraded), or as it stands of reflectance.

    NaN becomes 0: callers keep the mask of what is valid.
    """
    scaled = (values + np.float32(radiometric_offset)) * np.float32(REFLECTANCE_ONE / quantification_value)
    np.nan_to_num(scaled, copy=False, nan=0.0)
    return np.clip(np.rint(scaled), np.iinfo(np.int16).min, np.iinfo(np.int16).max).astype(np.int16)
