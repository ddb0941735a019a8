"""NIQE: how far the statistics of an image are from those of good images. Needs no reference, but a model of "good".

Blocks of 96 px are described by 36 numbers of their locally normalised values, 18 at full and 18 at half resolution.
The blocks of an image make a mean and a covariance, and the score is their distance from the model's. No model is
shipped: read the authors' file of natural photographs (`NiqeModel.load`) or fit one on high-resolution tiles (`fit`).
Without a model there is no NIQE.
Source: Mittal, Soundararajan and Bovik, IEEE SPL 2013, https://doi.org/10.1109/LSP.2012.2227726.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.io import loadmat
from torch.nn.functional import interpolate, pad

from hpc_sr.disk import read_arrays, size_of
from hpc_sr.errors import MissingComponentError, NotFiniteError, ShapeError
from hpc_sr.evaluate.metrics.block_statistics import FEATURES_PER_SCALE, describe
from hpc_sr.evaluate.metrics.structure import filter_whole, gaussian_taps

BLOCK_PX = 96
FEATURES = 2 * FEATURES_PER_SCALE
#: Pixels around a block that its features look at, as far as the image goes. Even: half resolution keeps its grid.
NIQE_CONTEXT_PX = 16

_WINDOW_PX, _SIGMA_PX = 7, 7 / 6
#: Grey levels added to the local deviation: below it, detail counts as quantisation.
_ONE_LEVEL = 1.0
_LEVELS = 255.0
#: A model has 1333 numbers.
_MOST_BYTES = 1 << 20
#: Blocks at least this sharp, as a share of the sharpest of their image, are what a model is fitted on.
_SHARP_ENOUGH = 0.75


@dataclass(frozen=True, eq=False)
class NiqeModel:
    """What good images are like: mean (36,) and covariance (36, 36) of their blocks' features.

    `white` is the value in the images' own units that counts as grey level 255.
    """

    mean: np.ndarray
    covariance: np.ndarray
    white: float

    def save(self, path: Path) -> None:
        """Write the model as .npz; the folder must exist."""
        np.savez(path, mean=self.mean, covariance=self.covariance, white=self.white)

    @classmethod
    def load(cls, path: Path, white: float = _LEVELS) -> NiqeModel:
        """Return the model of an .npz that `save` wrote, or of the authors', as .mat or as .npz (mu_pris_param ...).

        The authors' does not say what is white: `white` does, 255 for images of 8 bits.
        Raises MissingComponentError if the file is not there or holds no model.
        """
        cure = "fit one on high-resolution tiles, or give the authors'"
        try:
            if path.suffix == ".mat":
                size_of(path, MissingComponentError, cure, _MOST_BYTES)
                held = loadmat(path, variable_names=["mu_prisparam", "cov_prisparam"])
                mean, covariance = held["mu_prisparam"].ravel(), held["cov_prisparam"]
            else:
                held = read_arrays(path, None, MissingComponentError, cure, _MOST_BYTES)
                if "mu_pris_param" in held:
                    mean, covariance = held["mu_pris_param"].ravel(), held["cov_pris_param"]
                else:
                    mean, covariance, white = held["mean"], held["covariance"], float(held["white"])
        # A damaged .mat makes its reader fail in any way.
        except Exception as error:
            if isinstance(error, MissingComponentError):
                raise
            raise MissingComponentError(f"holds no NIQE model ({error})", where=path, cure=cure) from error
        if mean.shape != (FEATURES,) or covariance.shape != (FEATURES, FEATURES):
            raise MissingComponentError(
                f"describes {mean.shape} and {covariance.shape} features, not {FEATURES}", where=path, cure="fit anew"
            )
        return cls(mean.astype(np.float64), covariance.astype(np.float64), white)


@dataclass(frozen=True, eq=False)
class NiqeSums:
    """Of the blocks' features the number, the sum and the sum of products; those of disjoint parts add up."""

    values: np.ndarray

    @classmethod
    def zero(cls) -> NiqeSums:
        """Return the sums over no block."""
        return cls(np.zeros(1 + FEATURES + FEATURES**2))

    @classmethod
    def of(cls, features_NF: np.ndarray) -> NiqeSums:
        """Return the sums over blocks with these features."""
        products = features_NF.T @ features_NF
        return cls(np.concatenate([[len(features_NF)], features_NF.sum(0), products.ravel()]))

    def __add__(self, other: NiqeSums) -> NiqeSums:
        """Return the sums over both. Their `values` may be added across ranks as well."""
        return NiqeSums(self.values + other.values)

    @property
    def blocks(self) -> int:
        return int(self.values[0])

    def mean_and_covariance(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and the sample covariance of the features; there must be two blocks."""
        mean = self.values[1 : 1 + FEATURES] / self.blocks
        power = self.values[1 + FEATURES :].reshape(FEATURES, FEATURES)
        return mean, (power - self.blocks * np.outer(mean, mean)) / (self.blocks - 1)


def measure_niqe(
    image: torch.Tensor, white: float, mask: torch.Tensor | None = None, core: tuple[slice, slice] | None = None
) -> NiqeSums:
    """Return the sums of one band of an image, or of a window of it.

    Blocks are laid from the core's corner and lie wholly in it. Bring NIQE_CONTEXT_PX pixels around the core, fewer
    only where the image ends, and cores that start on multiples of 96 px (384 does) give the sums of the whole image.
    Blocks whose pixels, context included, are not all valid are left out, and so are blocks without any contrast.

    Shapes: (H, W), `mask` alike; units those of `white`, which counts as grey level 255.
    Raises ShapeError if the shapes do not fit, NotFiniteError for NaN or infinity in a valid pixel.
    """
    features, _ = _blocks(image, white, mask, core)
    return NiqeSums.of(features)


def niqe(sums: NiqeSums, model: NiqeModel) -> float | None:
    """Return the distance between the image's blocks and the model's, 0 at best; None of fewer than two blocks.

    sqrt(d^T ((S1 + S2) / 2)^-1 d), with d the difference of the means and S the covariances; a pseudo-inverse, as in
    the source: few blocks have a covariance of low rank.
    """
    if sums.blocks < 2:
        return None
    mean, covariance = sums.mean_and_covariance()
    apart = mean - model.mean
    return float(np.sqrt(apart @ np.linalg.pinv((covariance + model.covariance) / 2, hermitian=True) @ apart))


def fit(images: Iterable[torch.Tensor], white: float) -> NiqeModel:
    """Return the model of good images: bands (H, W) of high resolution, in the units of `white`.

    Of each image the blocks count whose mean local deviation is at least 0.75 of its sharpest block's.
    Raises ShapeError unless there are more such blocks than features.
    """
    sums = NiqeSums.zero()
    for image in images:
        features, sharpness = _blocks(image, white, None, None)
        if len(features):
            sums += NiqeSums.of(features[sharpness >= _SHARP_ENOUGH * sharpness.max()])
    if sums.blocks <= FEATURES:
        raise ShapeError(
            f"{sums.blocks} sharp blocks of {BLOCK_PX} px are too few to fit {FEATURES} features",
            cure="give more or larger tiles",
        )
    return NiqeModel(*sums.mean_and_covariance(), white)


@torch.no_grad()
def _blocks(
    image: torch.Tensor, white: float, mask: torch.Tensor | None, core: tuple[slice, slice] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the features (N, 36) and the sharpness (N,) of the blocks that count."""
    if image.ndim != 2 or (mask is not None and mask.shape != image.shape):
        raise ShapeError(f"an image of shape {tuple(image.shape)} and its mask are not both (H, W)")
    image = image.cpu()
    valid = torch.ones_like(image, dtype=torch.bool) if mask is None else mask.bool().cpu()
    grey = torch.where(valid, image.double(), 0.0) * (_LEVELS / white)
    if not grey.isfinite().all():
        raise NotFiniteError("values are NaN or infinite", where="NIQE", cure="give a mask where there is no data")
    rows, columns = core or (slice(None), slice(None))
    bounds = [part.indices(size)[:2] for part, size in zip((rows, columns), image.shape, strict=True)]
    corners = [
        (row, column)
        for row in range(bounds[0][0], bounds[0][1] - BLOCK_PX + 1, BLOCK_PX)
        for column in range(bounds[1][0], bounds[1][1] - BLOCK_PX + 1, BLOCK_PX)
        if _around(valid, row, column).all()
    ]
    if not corners:
        return np.zeros((0, FEATURES)), np.zeros(0)
    features, sharpness = [], np.zeros(0)
    for shrink in (1, 2):
        normalised, deviation = _normalise(grey if shrink == 1 else _halved(grey))
        side = BLOCK_PX // shrink
        places = [(slice(r // shrink, r // shrink + side), slice(c // shrink, c // shrink + side)) for r, c in corners]
        features.append(describe(np.stack([normalised[place] for place in places])))
        if shrink == 1:
            sharpness = np.array([deviation[place].mean() for place in places])
    joined = np.concatenate(features, axis=1)
    defined = np.isfinite(joined).all(1)
    return joined[defined], sharpness[defined]


def _around(valid: torch.Tensor, row: int, column: int) -> torch.Tensor:
    rows, columns = (slice(max(at - NIQE_CONTEXT_PX, 0), at + BLOCK_PX + NIQE_CONTEXT_PX) for at in (row, column))
    return valid[rows, columns]


def _normalise(grey_HW: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return (image - local mean) / (local deviation + one level), and the local deviation; borders replicated."""
    taps, reach = gaussian_taps(_WINDOW_PX, _SIGMA_PX), _WINDOW_PX // 2
    padded = pad(grey_HW[None, None], (reach,) * 4, mode="replicate")[0, 0]
    mean, power = filter_whole(torch.stack((padded, padded**2)), taps)
    deviation = (power - mean**2).clamp_min(0.0).sqrt()
    return ((grey_HW - mean) / (deviation + _ONE_LEVEL)).numpy(), deviation.numpy()


def _halved(grey_HW: torch.Tensor) -> torch.Tensor:
    """Return the image at half resolution by cubic convolution with the kernel stretched against aliasing."""
    height, width = (size // 2 * 2 for size in grey_HW.shape)
    even = grey_HW[None, None, :height, :width]
    return interpolate(even, scale_factor=0.5, mode="bicubic", align_corners=False, antialias=True)[0, 0]
