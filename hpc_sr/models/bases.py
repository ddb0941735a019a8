"""What a network's output is added to: the coarse bands on the target grid, by a method that learns nothing.

A base takes the coarse bands (B, C, h, w) and the guides (B, K, scale h, scale w), and returns (B, C, scale h,
scale w) in their unit; interpolations do not look at the guides. With `reach_px` target pixels around it, fewer only
where the image ends, a window of whole coarse pixels has the values of the whole image.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from hpc_sr.models.banded import Band, band_of, coarser, finer, image_of, phases_of
from hpc_sr.models.blocks import bilinear, bilinear_down
from hpc_sr.models.filters import (
    BICUBIC_REACH_PX,
    BILINEAR_REACH_PX,
    Taps,
    at_least_float32,
    bicubic,
    bicubic_down,
    check_law,
    coarse_support_px,
    correlated_down,
    degraded,
    gaussian_taps,
    in_use,
    taps_of,
)
from hpc_sr.models.slopes import slopes_of, slopes_of_window

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


class _Bands(NamedTuple):
    """The guided base's filters down the columns and along the rows: `down_up` is D(up(x)), on the coarse grid."""

    up: tuple[Band, Band]
    linear: tuple[Band, Band]
    down: tuple[Band, Band]
    down_up: tuple[Band, Band]
    guides_down: tuple[Band, Band]
    window: tuple[Band, Band]


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
        if in_use():
            return self._of_window(coarse, guides)
        guides_coarse = degraded(guides, self.guide_taps, self.scale)
        slopes = self.slopes(coarse, guides_coarse)
        estimate, detail = bicubic(coarse, self.scale), guides - bicubic(guides_coarse, self.scale)
        # A guide at a time: the slopes of all of them on the fine grid would be as large as a network's maps.
        for k, slope in enumerate(slopes):
            estimate = torch.addcmul(estimate, bilinear(slope, self.scale), detail.narrow(1, k, 1))
        for _ in range(self.rounds):
            estimate = estimate + bicubic(coarse - degraded(estimate, self.taps, self.scale), self.scale)
        return estimate

    def _of_window(self, coarse: torch.Tensor, guides: torch.Tensor) -> torch.Tensor:
        """Return the same, but for rounding, by fewer passes over memory; not for training and graphs.

        x = up(y) + d with the injected detail d; a round's misfit r leaves the next one r - D(up(r)). So what rounds
        add is summed up on the coarse grid, and brought to the fine one once.
        """
        check_law(guides, self.guide_taps, self.scale)
        bands = self._bands(coarse)
        detail = phases_of(guides, self.scale)
        guides_coarse = coarser(detail, bands.guides_down)
        for own, smooth in zip(detail, finer(guides_coarse, bands.up), strict=True):
            own -= smooth
        estimate = [torch.zeros_like(coarse) for _ in detail]
        slopes = slopes_of_window(coarse, guides_coarse, bands.window, self.ridge, self.least_variance)
        for k, slope in enumerate(slopes):
            for total, fine, own in zip(estimate, finer(slope, bands.linear), detail, strict=True):
                total.addcmul_(fine, own.narrow(1, k, 1))
        sharp, misfit = coarse, coarse - coarser([coarse], bands.down_up) - coarser(estimate, bands.down)
        for _ in range(self.rounds):
            sharp, misfit = sharp + misfit, misfit - coarser([misfit], bands.down_up)
        for total, smooth in zip(estimate, finer(sharp, bands.up), strict=True):
            total += smooth
        return image_of(estimate, self.scale)

    def _bands(self, coarse: torch.Tensor) -> _Bands:
        """Return the filters of windows of this size."""
        scale, up = self.scale, partial(bicubic_down, scale=self.scale)

        def seen_by(taps: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
            return lambda x: correlated_down(x.expand(-1, len(taps), -1, -1), taps, scale)

        def both(down: Callable[[torch.Tensor], torch.Tensor], sources: int, reach_px: int) -> tuple[Band, Band]:
            return band_of(down, -2, coarse, sources, reach_px), band_of(down, -1, coarse, sources, reach_px)

        down, support_px = seen_by(self.taps), coarse_support_px(self.taps, scale)
        return _Bands(
            up=both(up, 1, BICUBIC_REACH_PX),
            linear=both(partial(bilinear_down, scale=scale), 1, BILINEAR_REACH_PX),
            down=both(down, scale, support_px),
            down_up=both(lambda x: down(up(x)), 1, support_px + BICUBIC_REACH_PX),
            guides_down=both(seen_by(self.guide_taps), scale, coarse_support_px(self.guide_taps, scale)),
            window=both(lambda x: correlated_down(x, self.window), 1, self.window.shape[1] // 2),
        )

    def slopes(self, coarse_BChw: torch.Tensor, guides_BKhw: torch.Tensor) -> list[torch.Tensor]:
        """Return each coarse band's slope on the guides, seen coarsely, around every pixel: (B, C, h, w) a guide."""
        return slopes_of(coarse_BChw, guides_BKhw, self.window, self.ridge, self.least_variance)
