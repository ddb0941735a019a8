"""What ground looks like to whom has to sharpen it: how bright each band is, and how much of it guides do not tell.

Both are measured on patches, on the grid that coarse bands were measured on. They say on which ground a network was
trained, and whether a product is like it.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter1d

#: Detail is what differs from the mean of so many pixels a side.
_MEAN_PX = 5
#: Keeps the fit on guides that say the same solvable: a share of their variance.
_RIDGE = 1e-3
#: The variance that rounding to whole numbers leaves: no band has less.
_ROUNDING = 1 / 12


def looks_of_patches(guides_NKhw: np.ndarray, coarse_NChw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the levels (N, K + C) of guides and coarse bands, and what is unexplained of the coarse ones (N, C).

    Patches are in stored units, on one grid, more than 4 px a side. Both results are binary logarithms: of the mean in
    stored units, 1 at least; of the share of a coarse band's detail that no linear combination of the guides' has.
    """
    guides = guides_NKhw.shape[1]
    x = np.concatenate((guides_NKhw, coarse_NChw), 1).astype(np.float32)
    levels = np.log2(np.maximum(x.mean((2, 3), dtype=np.float64), 1.0))
    smooth = uniform_filter1d(uniform_filter1d(x, _MEAN_PX, 2), _MEAN_PX, 3)
    border = slice(_MEAN_PX // 2, -(_MEAN_PX // 2))
    detail = (x - smooth)[:, :, border, border].reshape(*x.shape[:2], -1).astype(np.float64)
    covariances = detail @ detail.swapaxes(1, 2) / detail.shape[2]
    own, shared = covariances[:, :guides, :guides], covariances[:, :guides, guides:]
    loading = _RIDGE * np.trace(own, axis1=1, axis2=2) / guides + _ROUNDING
    slopes = np.linalg.solve(own + loading[:, None, None] * np.eye(guides), shared)
    variances = np.diagonal(covariances, axis1=1, axis2=2)[:, guides:]
    left = variances - ((2 * shared - own @ slopes) * slopes).sum(1)
    return levels, np.log2((np.maximum(left, 0.0) + _ROUNDING) / (variances + _ROUNDING))


def blocks_of(image_CHW: np.ndarray, side_px: int) -> np.ndarray:
    """Return an image's whole blocks (N, C, h, w) of a side, at most the image's own."""
    height, width = (min(side_px, size) for size in image_CHW.shape[1:])
    rows, columns = image_CHW.shape[1] // height, image_CHW.shape[2] // width
    cut = image_CHW[:, : rows * height, : columns * width].reshape(-1, rows, height, columns, width)
    return cut.transpose(1, 3, 0, 2, 4).reshape(-1, len(image_CHW), height, width)
