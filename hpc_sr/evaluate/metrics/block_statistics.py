"""The shape of a block's values: generalised Gaussians fitted by their moments, as NIQE needs them.

Shapes: x_NHW = blocks, rows, columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

FEATURES_PER_SCALE = 18

#: Each block's neighbours: to the right, below, and on both diagonals (rows, columns).
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
#: Exponents that a fit may find, as in the source; between them the ratio is interpolated.
_EXPONENTS = np.arange(0.2, 10.0005, 0.001)


class _Fit(NamedTuple):
    """Exponent and the scales of the left and right half of each block's values."""

    exponent: np.ndarray
    left: np.ndarray
    right: np.ndarray


def describe(x_NHW: np.ndarray) -> np.ndarray:
    """Return 18 features (N, 18) of normalised blocks: exponent and scale, then of the product with each neighbour
    exponent, mean, left and right scale. NaN for a block without both signs. Neighbours wrap around in the block.
    """
    own = fit_asymmetric(x_NHW)
    features = [own.exponent, (own.left + own.right) / 2]
    for shift in _NEIGHBOURS:
        pair = fit_asymmetric(x_NHW * np.roll(x_NHW, shift, axis=(1, 2)))
        mean = (pair.right - pair.left) * np.exp(gammaln(2 / pair.exponent) - gammaln(1 / pair.exponent))
        features += [pair.exponent, mean, pair.left, pair.right]
    return np.stack(features, axis=1)


def fit_asymmetric(x_NHW: np.ndarray) -> _Fit:
    """Return the asymmetric generalised Gaussian exp(-(|x| / scale)^exponent) of each block, scales by sign.

    By moments: mean(|x|)^2 / mean(x^2), corrected for the sides' ratio, is Gamma(2/a)^2 / (Gamma(1/a) Gamma(3/a)).
    Source: Lasmar, Stitou and Berthoumieu, ICIP 2009. NaN where values of one sign are missing.
    """
    power = x_NHW**2
    with np.errstate(divide="ignore", invalid="ignore"):
        left, right = (np.sqrt((power * side).sum((1, 2)) / side.sum((1, 2))) for side in (x_NHW < 0, x_NHW > 0))
        skew = left / right
        ratio = np.abs(x_NHW).mean((1, 2)) ** 2 / power.mean((1, 2))
        ratio = ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    exponent = np.interp(ratio, _moment_ratio(_EXPONENTS), _EXPONENTS)
    width = np.exp((gammaln(1 / exponent) - gammaln(3 / exponent)) / 2)
    return _Fit(exponent, left * width, right * width)


def _moment_ratio(exponent: np.ndarray) -> np.ndarray:
    """Return mean(|x|)^2 / mean(x^2) of a generalised Gaussian: rises with the exponent."""
    return np.exp(2 * gammaln(2 / exponent) - gammaln(1 / exponent) - gammaln(3 / exponent))
