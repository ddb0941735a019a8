"""What a network's output is added to: the coarse bands on the target grid, by a method that learns nothing.

A base takes the coarse bands (B, C, h, w) and the guides (B, K, scale h, scale w), and returns (B, C, scale h,
scale w) in their unit; interpolations do not look at the guides. With `reach_px` target pixels around it, fewer only
where the image ends, a window of whole coarse pixels has the values of the whole image.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from hpc_sr.models.blocks import bilinear
from hpc_sr.models.filters import (
    BICUBIC_REACH_PX,
    BILINEAR_REACH_PX,
    Taps,
    at_least_float32,
    bicubic,
    coarse_support_px,
    correlated_down,
    degraded,
    each_neighbour_down,
    gaussian_taps,
    neighbours_down,
    taps_of,
)

#: How often the guided base is made consistent with the coarse bands.
ROUNDS = 3

# The window is cut where the Gaussian is 3e-4 of its peak.
_CUT_SIGMA = 4.0
_LEAST_VARIANCE_DN2 = 1.0


class Bilinear(nn.Module):
    """Linear between pixel centres, flat beyond the outermost."""

    def __init__(self, scale: int):
        super().__init__()
        self.scale, self.reach_px = scale, scale * BILINEAR_REACH_PX

    def forward(self, coarse_BChw: torch.Tensor, guides_BKHW: torch.Tensor | None = None) -> torch.Tensor:
        return bilinear(coarse_BChw, self.scale)


class Bicubic(nn.Module):
    """Cubic convolution with a = -0.5."""

    def __init__(self, scale: int):
        super().__init__()
        self.scale, self.reach_px = scale, scale * BICUBIC_REACH_PX

    def forward(self, coarse_BChw: torch.Tensor, guides_BKHW: torch.Tensor | None = None) -> torch.Tensor:
        return bicubic(at_least_float32(coarse_BChw), self.scale)


class Fit(NamedTuple):
    """The window's sigma in coarse pixels, and the ridge as a share of the guides' mean variance."""

    sigma_px: float
    ridge: float


def fit_of(scale: int) -> Fit:
    """Return the constants for a scale: the best of a coarse grid on four L1C scenes, at x2 and at x6; flat optima.

    Up to x3 those of x2, above it those of x6: how much a coarse pixel averages decides.
    """
    return Fit(0.8, 0.003) if scale <= 3 else Fit(2.0, 0.01)


class Guided(nn.Module):
    """Local linear detail injection: coarse bands sharpened by what finer bands show, fitted in the image itself.

    Around every coarse pixel each coarse band y is fitted as a linear function of the guides seen coarsely, p = D(P):

        C = cov(p, p),  b = cov(p, y)                              in a Gaussian window on the coarse grid
        a = (C + (ridge tr(C) / K + 1 DN^2) I)^-1 b                K guides, one K x K system a coarse pixel
        x = up(y) + bilinear(a) . (P - up(p))                      up: bicubic
        x <- x + up(y - D(x)), `rounds` times                      back-projection: consistency with what was measured

    A guided filter with several guides (He, Sun, Tang, TPAMI 2013, https://doi.org/10.1109/TPAMI.2012.213) as
    context-based injection (Aiazzi et al., IEEE TGRS 2002, https://doi.org/10.1109/TGRS.2002.803623), with the
    iterated back-projection of Irani and Peleg (CVGIP 1991, https://doi.org/10.1016/1049-9652(91)90045-L).

    `taps` (C, N) and `guide_taps` (K, N') are the law's along an axis for each band; `dn_per_unit` says what a value
    of 1 is in reflectance x 10 000. Works in float32 at least; symmetric borders. It has no parameters; gradients
    flow to coarse bands and guides.
    """

    taps: torch.Tensor
    guide_taps: torch.Tensor
    window: torch.Tensor

    def __init__(self, scale: int, taps: Taps, guide_taps: Taps, dn_per_unit: float, rounds: int = ROUNDS):
        super().__init__()
        fit = fit_of(scale)
        self.scale, self.rounds, self.ridge = scale, rounds, fit.ridge
        self.least_variance = _LEAST_VARIANCE_DN2 / dn_per_unit**2
        # Facts, not something learned: they are on the card, and weights load with and without them.
        self.register_buffer("taps", taps_of(taps), persistent=False)
        self.register_buffer("guide_taps", taps_of(guide_taps), persistent=False)
        self.register_buffer("window", gaussian_taps(fit.sigma_px, _CUT_SIGMA), persistent=False)
        injected_px = max(BILINEAR_REACH_PX + self.window.shape[1] // 2, BICUBIC_REACH_PX)
        injected_px += coarse_support_px(self.guide_taps, scale)
        self.reach_px = scale * (injected_px + rounds * (coarse_support_px(self.taps, scale) + BICUBIC_REACH_PX))

    def forward(self, coarse_BChw: torch.Tensor, guides_BKHW: torch.Tensor) -> torch.Tensor:
        coarse, guides = at_least_float32(coarse_BChw), at_least_float32(guides_BKHW)
        guides_coarse = degraded(guides, self.guide_taps, self.scale)
        slopes = self.slopes(coarse, guides_coarse)
        estimate, detail = bicubic(coarse, self.scale), guides - bicubic(guides_coarse, self.scale)
        # A guide at a time: the slopes of all of them on the fine grid would be as large as a network's maps.
        for k, slope in enumerate(slopes):
            estimate = torch.addcmul(estimate, bilinear(slope, self.scale), detail.narrow(1, k, 1))
        for _ in range(self.rounds):
            estimate = estimate + bicubic(coarse - degraded(estimate, self.taps, self.scale), self.scale)
        return estimate

    def slopes(self, coarse_BChw: torch.Tensor, guides_BKhw: torch.Tensor) -> list[torch.Tensor]:
        """Return each coarse band's slope on the guides, seen coarsely, around every pixel: (B, C, h, w) a guide."""
        guides = guides_BKhw.shape[1]
        rows = _covariances(torch.cat((guides_BKhw, coarse_BChw), 1), guides, self.window)
        variances = torch.cat([row.narrow(1, k, 1) for k, row in enumerate(rows)], 1)
        loading = self.ridge * variances.mean(1, keepdim=True) + self.least_variance
        identity = torch.eye(guides, rows[0].shape[1], dtype=loading.dtype, device=loading.device)[..., None, None]
        return _solved([torch.addcmul(row, loading, unit) for row, unit in zip(rows, identity.unbind(), strict=True)])


def _covariances(x_BNhw: torch.Tensor, guides: int, window: torch.Tensor) -> list[torch.Tensor]:
    """Return the covariances of each of the first `guides` bands with all bands around every pixel, (B, N, h, w).

    Axis by axis, by the law of total covariance: the mean across columns of the covariance along them, plus the
    covariance across columns of the means along them. Differences are taken before they are multiplied: in float32 a
    difference of means of squares would be lost in rounding, and here no variance is negative.
    """
    taps_T11 = window.to(x_BNhw)[0, :, None, None]
    means: torch.Tensor = x_BNhw
    covariances: list[torch.Tensor] | None = None
    for _axis in range(2):
        before, means = means, correlated_down(means, window)
        if torch.is_inference_mode_enabled():
            within = _products_by_tap(before, means, guides, taps_T11)
        else:
            away = neighbours_down(before, len(taps_T11)) - means.unsqueeze(2)
            weighted = away.narrow(1, 0, guides) * taps_T11
            # A guide at a time: all products of all taps at once would be as large as a network's maps.
            within = [(weighted.narrow(1, k, 1) * away).sum(2) for k in range(guides)]
        if covariances is not None:
            within = [a + correlated_down(b, window) for a, b in zip(within, covariances, strict=True)]
        means, covariances = means.mT, [each.mT for each in within]
    assert covariances is not None
    return covariances


def _products_by_tap(
    x_BNhw: torch.Tensor, means_BNhw: torch.Tensor, guides: int, taps_T11: torch.Tensor
) -> list[torch.Tensor]:
    """Return the mean products down the columns of each guide's and all bands' differences from their means.

    As in training, without arrays of all taps: a window of an image is larger than a patch.
    """
    within = [torch.zeros_like(means_BNhw) for _ in range(guides)]
    for tap, pixels in zip(taps_T11, each_neighbour_down(x_BNhw, len(taps_T11)), strict=True):
        away = pixels - means_BNhw
        weighted = away.narrow(1, 0, guides) * tap
        for k, total in enumerate(within):
            total.addcmul_(weighted.narrow(1, k, 1), away)
    return within


def _solved(rows_BNhw: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the rows (B, N - K, h, w) of a in A a = b for the K rows of systems [A b], A positive definite.

    Elimination without a choice of pivots, which such systems do not need, in elementwise operations: one of many
    small systems is a pixel of maps, and every exporter knows what to do.
    """
    for k in range(len(rows_BNhw)):
        pivot = rows_BNhw[k] / rows_BNhw[k].narrow(1, k, 1)
        rows_BNhw = [
            pivot if i == k else torch.addcmul(row, row.narrow(1, k, 1), pivot, value=-1)
            for i, row in enumerate(rows_BNhw)
        ]
    return [row.narrow(1, len(rows_BNhw), row.shape[1] - len(rows_BNhw)) for row in rows_BNhw]
