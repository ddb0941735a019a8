"""SupReME: all bands at once, as mixtures of the few images that a scene is made of (Lanaras et al., CVPRW 2017).

Bands x_b in units of their root mean square are mixtures x = U z of seven images z_p, sharp where the fine bands are:

    minimise  1/2 sum_b |D_b (U z)_b - y_b|^2 + lambda sum_p q_p |W grad z_p|^2

U holds the leading left singular vectors of the bands seen equally coarsely. D_b is the degradation that leads to
band b, for fine bands the identity. The prior smooths, the less the more an image carries, and less where the fine
bands have an edge: W = max(1/2, exp(-g^2 / 2)), g the largest gradient of a fine band over its 95th percentile.

The functional is quadratic, so conjugate gradients reach the minimum that the authors' ADMM approaches, without a
step size and without a circular border: D_b is a product with two sparse matrices, one a side, borders mirrored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import avg_pool2d, pad

from hpc_sr.classical.grids import check_nested
from hpc_sr.classical.interpolation import bicubic
from hpc_sr.errors import ShapeError
from hpc_sr.sentinel2.degrade import Kernel, degrade

#: Fine pixels around a window. What lies beyond moved no pixel of real scenes by more than 2e-4 of its band's RMS.
OVERLAP_PX = 24

_LAMBDA = 0.005
_ROUGHNESS = (1.0, 1.5, 4.0, 8.0, 15.0, 15.0, 20.0)
_LEAST_WEIGHT = 0.5
_EDGE_QUANTILE = 0.95

# With the preconditioner below 15 to 30 steps suffice. Scores stand at a residual of 1e-4 of the right-hand side;
# windows agree as well as is stated above at this one.
_STEPS = 100
_TOLERANCE = 1e-6


class Seen(NamedTuple):
    """Bands (C, h, w) that were measured coarsely, and the degradation that leads to them from the fine grid."""

    bands: torch.Tensor
    law: Kernel


@dataclass(frozen=True, eq=False)
class Subspace:
    """What SupReME learns from a whole image: spectra (B, P), each band's unit (B,), the unit of gradients.

    Bands are counted fine ones first, then the coarse ones in the order in which they were given.
    """

    spectra: torch.Tensor
    units: torch.Tensor
    edge: float


def fit_subspace(fine_CHW: torch.Tensor, coarse: Sequence[Seen]) -> Subspace:
    """Return spectra and units of an image, float64.

    The spectra are those of the bands averaged to the coarsest grid. Shapes: (C, H, W) and (C', H / s, W / s), a
    common unit, finite. Constant bands and bands of zeros are allowed.
    Raises ShapeError if there is no coarse band or the grids do not nest.
    """
    layers = _layers(fine_CHW, coarse)
    units = torch.cat([layer.square().mean((1, 2)).sqrt() for layer in layers])
    units = torch.where(units > 0, units, 1.0)
    strides = [1, *(seen.law.scale for seen in coarse)]
    alike = torch.cat([avg_pool2d(x, max(strides) // stride) for x, stride in zip(layers, strides, strict=True)])
    pixels = alike.flatten(1) / units[:, None]
    # Left singular vectors, strongest first, without a workspace as large as the image.
    spectra = torch.linalg.eigh(pixels @ pixels.T).eigenvectors.flip(1)[:, : len(_ROUGHNESS)]
    gradient = _steepest(layers[0] / units[: len(fine_CHW), None, None])
    edge = float(np.quantile(gradient.cpu().numpy(), _EDGE_QUANTILE))
    return Subspace(spectra, units, edge if edge > 0 else 1.0)


def supreme(fitted: Subspace, fine_CHW: torch.Tensor, coarse: Sequence[Seen]) -> list[torch.Tensor]:
    """Return the bands of each element of `coarse` on the fine grid, each in its own type, by the module's formulas.

    Every pixel depends on every other one, less and less: windows need OVERLAP_PX around them, on whole coarse
    pixels, and what is fitted to the whole image. At most 100 steps in float64; setting up takes memory by the square
    of a side, so large images are best given by windows.

    Shapes: (C, H, W) and (C', H / s, W / s) -> (C', H, W). The unit of the fit, finite.
    Raises ShapeError if the grids do not nest or the bands are not as many as were fitted.
    """
    layers = _layers(fine_CHW, coarse)
    counts = [len(layer) for layer in layers]
    if sum(counts) != len(fitted.units):
        raise ShapeError(f"{sum(counts)} bands meet a fit of {len(fitted.units)}", cure="give the layers of the fit")
    spectra, units = fitted.spectra.split(counts), [unit[:, None, None] for unit in fitted.units.split(counts)]
    measured = [layer / unit for layer, unit in zip(layers, units, strict=True)]
    views = [_View(spectra[0], None, 1)]
    for mix, seen in zip(spectra[1:], coarse, strict=True):
        views.append(_View(mix, _Law.of(seen.law, fine_CHW), seen.law.scale))
    prior = _Prior.of(_steepest(measured[0]) / fitted.edge, fitted.spectra.shape[1])
    enlarged = [bicubic(y[None], view.scale)[0] for y, view in zip(measured, views, strict=True)]
    images = _minimise(views, prior, measured, torch.einsum("bp,bhw->phw", fitted.spectra, torch.cat(enlarged)))
    return [
        (unit * view.mixed(images)).to(seen.bands.dtype)
        for unit, view, seen in zip(units[1:], views[1:], coarse, strict=True)
    ]


class _Law(NamedTuple):
    """A degradation, band by band: D x = rows x columns', sparse (h, H) and (w, W); and the transposes of both."""

    matrices: list[tuple[torch.Tensor, torch.Tensor]]
    transposed: list[tuple[torch.Tensor, torch.Tensor]]

    @classmethod
    def of(cls, law: Kernel, fine_CHW: torch.Tensor) -> _Law:
        height, width = fine_CHW.shape[1:]
        made = {(s, size): _matrix(law, s, size) for s in set(law.sigma_px) for size in {height, width}}
        sides = [(made[sigma, height], made[sigma, width]) for sigma in law.sigma_px]

        def sparse(side: torch.Tensor) -> torch.Tensor:
            return side.to_sparse().to(fine_CHW.device)

        return cls([(sparse(a), sparse(b)) for a, b in sides], [(sparse(a.T), sparse(b.T)) for a, b in sides])

    def seen(self, x_CHW: torch.Tensor) -> torch.Tensor:
        return _from_both_sides(self.matrices, x_CHW)

    def seen_back(self, y_CHW: torch.Tensor) -> torch.Tensor:
        """The transpose of `seen`."""
        return _from_both_sides(self.transposed, y_CHW)


class _View(NamedTuple):
    """How a layer of the image follows from the images z: mixed by its spectra, degraded if it is coarse."""

    spectra: torch.Tensor
    law: _Law | None
    scale: int

    def mixed(self, z_PHW: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bp,phw->bhw", self.spectra, z_PHW)

    def seen(self, z_PHW: torch.Tensor) -> torch.Tensor:
        x = self.mixed(z_PHW)
        return x if self.law is None else self.law.seen(x)

    def seen_back(self, y_BHW: torch.Tensor) -> torch.Tensor:
        """The transpose of `seen`."""
        x = y_BHW if self.law is None else self.law.seen_back(y_BHW)
        return torch.einsum("bp,bhw->phw", self.spectra, x)


class _Prior(NamedTuple):
    """The gradient of lambda sum_p q_p |W grad z_p|^2: q (P, 1, 1) with its factors, and W^2 (H, W)."""

    strength: torch.Tensor
    weights: torch.Tensor

    @classmethod
    def of(cls, edges_HW: torch.Tensor, images: int) -> _Prior:
        strength = 2 * _LAMBDA * torch.tensor(_ROUGHNESS[:images]).to(edges_HW)[:, None, None]
        return cls(strength, torch.exp(-(edges_HW**2) / 2).clamp(min=_LEAST_WEIGHT) ** 2)

    def gradient(self, z_PHW: torch.Tensor) -> torch.Tensor:
        out = torch.zeros_like(z_PHW)
        for dim in (1, 2):
            steps = z_PHW.shape[dim] - 1
            flux = z_PHW.diff(dim=dim) * self.weights[None].narrow(dim, 0, steps)
            out.narrow(dim, 0, steps).sub_(flux)
            out.narrow(dim, 1, steps).add_(flux)
        return self.strength * out


def _minimise(views: list[_View], prior: _Prior, measured: list[torch.Tensor], start_PHW: torch.Tensor) -> torch.Tensor:
    """Return the minimum by conjugate gradients, preconditioned by the P x P mixing of a pixel on its own."""

    def apply(z: torch.Tensor) -> torch.Tensor:
        return sum((view.seen_back(view.seen(z)) for view in views), prior.gradient(z))

    # A mean over s x s pixels returns 1 / s^2 of a pixel; the prior's Laplacian has 4 W^2 on its diagonal.
    mixing = sum(view.spectra.T @ view.spectra / view.scale**2 for view in views)
    mixing = mixing + torch.diag(prior.strength.flatten() * 4 * prior.weights.mean())
    inverse = torch.linalg.inv(mixing)
    target = reduce(torch.add, (view.seen_back(y) for view, y in zip(views, measured, strict=True)))

    z, enough = start_PHW, _TOLERANCE * float(target.norm())
    residual = target - apply(z)
    direction, decrease = torch.zeros_like(z), 1.0
    for _ in range(_STEPS):
        if float(residual.norm()) <= enough:
            break
        steepest = torch.einsum("pq,qhw->phw", inverse, residual)
        before, decrease = decrease, float((residual * steepest).sum())
        direction = steepest + decrease / before * direction
        curved = apply(direction)
        length = decrease / float((direction * curved).sum())
        z, residual = z + length * direction, residual - length * curved
    return z


def _from_both_sides(matrices: list[tuple[torch.Tensor, torch.Tensor]], x_CHW: torch.Tensor) -> torch.Tensor:
    half = (torch.sparse.mm(rows, x).T.contiguous() for (rows, _), x in zip(matrices, x_CHW, strict=True))
    return torch.stack([torch.sparse.mm(columns, x).T for (_, columns), x in zip(matrices, half, strict=True)])


def _matrix(law: Kernel, sigma_px: float, size: int) -> torch.Tensor:
    """Return the degradation along one side of `size` pixels, (size / scale, size).

    The rows of an image of one coarse column are degraded as they are: each unit vector goes through the law itself.
    """
    unit_vectors = np.repeat(np.eye(size)[:, :, None], law.scale, axis=2)
    responses = degrade(unit_vectors, Kernel(law.name, law.scale, (sigma_px,) * size))
    return torch.from_numpy(responses[:, :, 0].T.copy())


def _layers(fine_CHW: torch.Tensor, coarse: Sequence[Seen]) -> list[torch.Tensor]:
    """Return all layers in float64, the fine one first."""
    if not coarse:
        raise ShapeError("there is no coarse band to sharpen", cure="give at least one coarse layer")
    for seen in coarse:
        check_nested(seen.bands, fine_CHW, seen.law.scale)
        if len(seen.bands) != len(seen.law.sigma_px):
            raise ShapeError(f"{len(seen.bands)} bands meet a kernel for {len(seen.law.sigma_px)}")
    return [fine_CHW.double(), *(seen.bands.double() for seen in coarse)]


def _steepest(x_CHW: torch.Tensor) -> torch.Tensor:
    """Return the largest gradient of any band at every pixel (H, W): forward differences, 0 beyond the end."""
    down, across = pad(x_CHW.diff(dim=1), (0, 0, 0, 1)), pad(x_CHW.diff(dim=2), (0, 1))
    return (down**2 + across**2).amax(0).sqrt()
