"""What the scores of one image are computed from, as float64 sums that add up over windows, batches and ranks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hpc_sr.errors import ShapeError

#: The sums in the order of the vector, and whether there is one for each band.
_SUMS = {
    "pixels": False,
    "reference": True,
    "error": True,
    "squared_error": True,
    "angle_deg": False,
    "angle_pixels": False,
    "ssim": True,
    "ssim_windows": False,
    "uiq": True,
    "uiq_windows": False,
    "squared_reference": True,
    "reference_error": True,
    "gradient_reference": True,
    "gradient_estimate": True,
    "gradient_similarity": True,
    "gradients": False,
}


@dataclass(frozen=True, eq=False)
class ImageSums:
    """What the scores of one image are computed from; those of its disjoint parts add up to those of the whole.

    `brightest`, the greatest value of the reference, is no sum: + takes the greater, and it is None if not known.
    """

    bands: int
    values: np.ndarray
    brightest: float | None = None

    @classmethod
    def zero(cls, bands: int) -> ImageSums:
        """Return the sums over no pixel."""
        return cls(bands, np.zeros(sum(bands if per_band else 1 for per_band in _SUMS.values())), -math.inf)

    @classmethod
    def from_vector(cls, vector: np.ndarray, bands: int, brightest: float | None = None) -> ImageSums:
        """Return the sums that `vector` holds. Raises ShapeError if its length is not that of `bands` bands."""
        expected = cls.zero(bands).values.shape
        if np.shape(vector) != expected:
            raise ShapeError(f"a vector of shape {np.shape(vector)} is not the sums of {bands} bands, {expected}")
        return cls(bands, np.array(vector, np.float64), brightest)

    def vector(self) -> np.ndarray:
        """Return the sums as one float64 vector: those of several ranks may be added. `brightest` is not in it."""
        return self.values.copy()

    def __add__(self, other: ImageSums) -> ImageSums:
        """Return the sums over both. Raises ShapeError if the other has another number of bands."""
        added = self.values + ImageSums.from_vector(other.values, self.bands).values
        ours, theirs = self.brightest, other.brightest
        return ImageSums(self.bands, added, None if ours is None or theirs is None else max(ours, theirs))

    def __getitem__(self, name: str) -> np.ndarray:
        """Return the sum called `name`: one number, or one for each band."""
        names = list(_SUMS)
        widths = [self.bands if per_band else 1 for per_band in _SUMS.values()]
        start = sum(widths[: names.index(name)])
        return self.values[start : start + widths[names.index(name)]]
