"""What coarse bands owe to guides around every pixel: linear regression in a Gaussian window, by elementwise maps.

For each coarse band y and the K guides p, on one grid: a = (C + (ridge tr(C) / K + least) I)^-1 b, where
C = cov(p, p) and b = cov(p, y) in the window.
"""

from __future__ import annotations

import torch

from hpc_sr.models.banded import Band, filtered, runs_of, steps
from hpc_sr.models.filters import correlated_down, neighbours_down


def slopes_of(
    coarse_BChw: torch.Tensor, guides_BKhw: torch.Tensor, window: torch.Tensor, ridge: float, least_variance: float
) -> list[torch.Tensor]:
    """Return each coarse band's slope on the guides around every pixel: (B, C, h, w) a guide.

    `window` are the taps (1, N) along an axis, `least_variance` in the unit of the bands, squared.
    """
    rows = _covariances(torch.cat((guides_BKhw, coarse_BChw), 1), guides_BKhw.shape[1], window)
    return _solved(_loaded(rows, ridge, least_variance))


def slopes_of_window(
    coarse_BChw: torch.Tensor, guides_BKhw: torch.Tensor, window: tuple[Band, Band], ridge: float, least_variance: float
) -> list[torch.Tensor]:
    """Return what `slopes_of` does, in little memory and time for a window of an image.

    `window` is the filter down the columns and along the rows.
    """
    guides = guides_BKhw.shape[1]
    upper = _upper_covariances(torch.cat((guides_BKhw, coarse_BChw), 1), guides, window)
    parts = []
    for run in runs_of(upper[0]):
        seen = [row[..., run, :] for row in upper]
        # C is symmetric: what is left of the diagonal is above it, too.
        rows = [torch.cat([*(seen[i].narrow(1, k - i, 1) for i in range(k)), seen[k]], 1) for k in range(guides)]
        parts.append(_solved(_loaded(rows, ridge, least_variance)))
    return [torch.cat(slopes, 2) for slopes in zip(*parts, strict=True)]


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
        away = neighbours_down(before, len(taps_T11)) - means.unsqueeze(2)
        weighted = away.narrow(1, 0, guides) * taps_T11
        # A guide at a time: all products of all taps at once would be as large as a network's maps.
        within = [(weighted.narrow(1, k, 1) * away).sum(2) for k in range(guides)]
        if covariances is not None:
            within = [a + correlated_down(b, window) for a, b in zip(within, covariances, strict=True)]
        means, covariances = means.mT, [each.mT for each in within]
    assert covariances is not None
    return covariances


def _upper_covariances(x_BNhw: torch.Tensor, guides: int, window: tuple[Band, Band]) -> list[torch.Tensor]:
    """Return the covariances of each of the first `guides` bands with itself and all later ones, (B, N - k, h, w)."""
    means, bands = x_BNhw, x_BNhw.shape[1]
    upper = [torch.zeros_like(means.narrow(1, k, bands - k)) for k in range(guides)]
    for axis, band in enumerate(window):
        before, (means,) = means, filtered([means], band)
        if axis:
            upper = [filtered([row], band)[0] for row in upper]
        for _, here, there, weights in steps(band, before):
            away = before[there] - means[here]
            weighted = away.narrow(1, 0, guides) * weights
            for k, row in enumerate(upper):
                row[here].addcmul_(weighted.narrow(1, k, 1), away.narrow(1, k, bands - k))
    return upper


def _loaded(rows_BNhw: list[torch.Tensor], ridge: float, least_variance: float) -> list[torch.Tensor]:
    """Return the rows of systems with what keeps them positive definite on their diagonals."""
    guides, bands = len(rows_BNhw), rows_BNhw[0].shape[1]
    variances = torch.cat([row.narrow(1, k, 1) for k, row in enumerate(rows_BNhw)], 1)
    loading = ridge * variances.mean(1, keepdim=True) + least_variance
    identity = torch.eye(guides, bands, dtype=loading.dtype, device=loading.device)[..., None, None]
    return [torch.addcmul(row, loading, unit) for row, unit in zip(rows_BNhw, identity.unbind(), strict=True)]


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
