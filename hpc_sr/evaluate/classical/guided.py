"""Local linear detail injection: coarse bands sharpened by what finer bands show, fitted in the image itself.

Around every coarse pixel each coarse band y is fitted as a linear function of the guides seen coarsely, p = D(P):

    C = E[p p'] - E[p] E[p]',  b = E[p y] - E[p] E[y]          E: Gaussian window on the coarse grid
    a = (C + (ridge tr(C) / K + 1 DN^2) I)^-1 b                K guides, one K x K system a coarse pixel
    x = up(y) + bilinear(a) . (P - up(p))                      up: bicubic
    x <- x + up(y - D(x)), a few times                         back-projection: consistency with what was measured

A guided filter with several guides (He, Sun, Tang, TPAMI 2013) as context-based injection (Aiazzi et al., IEEE TGRS
2002), with the iterated back-projection of Irani and Peleg (CVGIP 1991).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.ndimage import gaussian_filter

from hpc_sr.errors import ShapeError
from hpc_sr.evaluate.classical.grids import check_nested, seen_coarse
from hpc_sr.evaluate.classical.interpolation import BICUBIC_REACH_PX, BILINEAR_REACH_PX, bicubic
from hpc_sr.models.blocks import bilinear
from hpc_sr.sentinel2.degrade import Kernel, support_px

#: How often the result is made consistent with the coarse bands.
ROUNDS = 3

# The window is cut where the Gaussian is 3e-4 of its peak.
_CUT_SIGMA = 4.0
_LEAST_VARIANCE_DN2 = 1.0


class Fit(NamedTuple):
    """The window's sigma in coarse pixels, and the ridge as a share of the guides' mean variance."""

    sigma_px: float
    ridge: float


def fit_of(scale: int) -> Fit:
    """Return the constants for a scale: the best of a coarse grid on four L1C scenes, at x2 and at x6; flat optima.

    Up to x3 those of x2, above it those of x6: how much a coarse pixel averages decides.
    """
    return Fit(0.8, 0.003) if scale <= 3 else Fit(2.0, 0.01)


def guided(
    coarse_CHW: torch.Tensor, guides_KHW: torch.Tensor, law: Kernel, guide_law: Kernel, rounds: int = ROUNDS
) -> torch.Tensor:
    """Return the coarse bands on the guides' grid. See the module for the law.

    `law` is how a coarse band follows from its fine one, `guide_law` how the guides look at that scale. Without
    `rounds` of back-projection the fit alone: better where the true response is not the law's.

    Shapes: (C, h, w) and (K, s h, s w) -> (C, s h, s w). Reflectance x 10 000, finite (fill nodata first); worked out
    in float64, returned in the type of the coarse bands. Symmetric borders.
    Raises ShapeError if the grids do not nest or the laws' scales or bands differ.
    """
    scale = law.scale
    check_nested(coarse_CHW, guides_KHW, scale)
    if guide_law.scale != scale:
        raise ShapeError(f"the bands are x{scale}, their guides x{guide_law.scale}", cure="give kernels of one scale")
    coarse, guides = coarse_CHW.double(), guides_KHW.double()
    guides_coarse = seen_coarse(guides, guide_law)
    slopes_CKHW = _fit(coarse, guides_coarse, fit_of(scale))
    detail_KHW = guides - _up(guides_coarse, scale)
    estimate = _up(coarse, scale) + (bilinear(slopes_CKHW, scale) * detail_KHW).sum(1)
    for _ in range(rounds):
        estimate = estimate + _up(coarse - seen_coarse(estimate, law), scale)
    return estimate.to(coarse_CHW.dtype)


def reach_px(law: Kernel, guide_law: Kernel, rounds: int = ROUNDS) -> int:
    """Return how many fine pixels around its own coarse pixel a result depends on: a multiple of the scale.

    Windows whose edges lie on coarse pixels and which bring that many, fewer only where the image ends, give the
    values of the whole image.
    """
    scale = law.scale
    law_px, guide_law_px = (-(-support_px(each) // scale) for each in (law, guide_law))
    window_px = int(_CUT_SIGMA * fit_of(scale).sigma_px + 0.5)
    injected_px = max(BILINEAR_REACH_PX + window_px, BICUBIC_REACH_PX) + guide_law_px
    return scale * (injected_px + rounds * (law_px + BICUBIC_REACH_PX))


def _fit(coarse_CHW: torch.Tensor, guides_KHW: torch.Tensor, fit: Fit) -> torch.Tensor:
    """Return the slope of each coarse band on each guide at every coarse pixel, (C, K, h, w)."""
    bands, guides = len(coarse_CHW), len(guides_KHW)
    mean_y, mean_p = _windowed(coarse_CHW, fit), _windowed(guides_KHW, fit)
    both = torch.cat((guides_KHW, coarse_CHW))
    products = _windowed((guides_KHW[:, None] * both[None]).flatten(0, 1), fit).unflatten(0, (guides, -1))
    moments_HWKN = (products - mean_p[:, None] * torch.cat((mean_p, mean_y))[None]).permute(2, 3, 0, 1)
    covariance, slopes_to = moments_HWKN.split((guides, bands), dim=-1)
    trace = covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
    loading = (fit.ridge / guides * trace + _LEAST_VARIANCE_DN2)[..., None, None] * torch.eye(guides).to(covariance)
    return torch.linalg.solve(covariance + loading, slopes_to).permute(3, 2, 0, 1)


def _windowed(x_NHW: torch.Tensor, fit: Fit) -> torch.Tensor:
    """Return the mean in a Gaussian window around every pixel, borders mirrored."""
    smooth = gaussian_filter(x_NHW.cpu().numpy(), (0, fit.sigma_px, fit.sigma_px), mode="reflect", truncate=_CUT_SIGMA)
    return torch.from_numpy(smooth).to(x_NHW.device)


def _up(x_CHW: torch.Tensor, scale: int) -> torch.Tensor:
    return bicubic(x_CHW[None], scale)[0]
