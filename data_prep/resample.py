"""How a low-resolution image is made from a high-resolution one where nobody measured it. Three laws:

`bicubic`         Keys' kernel with a = -0.5 stretched by the scale (anti-aliased), as MATLAB's imresize: the law of
                  the published sets. Set5 was made by an older imresize that repeats the border pixel instead of
                  mirroring and rounds between the axes: with both, these taps give its files to the last bit.
`gauss1_bicubic`  a Gaussian of sigma 1 pixel (cut at 4 sigma) before it (MSFM-GAN, Zhou et al. 2019).
`box`             the scale x scale mean (EEGAN, Jiang et al. 2019).

Source: R. Keys, Cubic convolution interpolation for digital image processing, IEEE TASSP 29(6), 1981, eq. 15.
"""

from __future__ import annotations

import numpy as np

from hpc_sr.errors import DegradationError, ShapeError

LAWS = ("bicubic", "gauss1_bicubic", "box")

_GAUSS1_RADIUS_PX = 4
#: Coarse rows that are made at a time: bounds memory, not the result.
_STRIP_ROWS = 64


def downsample(image_CHW: np.ndarray, scale: int, name: str) -> np.ndarray:
    """Return the image `scale` times smaller by the law called `name`, neither rounded nor clipped.

    Each coarse pixel is centred on its scale x scale box; borders are mirrored, the outermost pixel included.

    Shapes: (C, H, W) -> (C, H / scale, W / scale) float32, units as given. For whole images, never patches.
    Raises ShapeError if H or W is no multiple of the scale; DegradationError for an unknown name.
    """
    channels, height, width = image_CHW.shape
    taps = response_taps(name, scale)
    if height % scale or width % scale:
        raise ShapeError(
            f"{height} x {width} px is no multiple of {scale}", cure="trim the image to whole coarse pixels"
        )
    coarse = np.empty((channels, height // scale, width // scale), np.float32)
    beyond = (len(taps) - scale) // 2
    for out, band in zip(coarse, image_CHW, strict=True):
        rows = np.pad(np.arange(height), beyond, mode="symmetric")
        for top in range(0, len(out), _STRIP_ROWS):
            bottom = min(top + _STRIP_ROWS, len(out))
            strip = band[rows[top * scale : bottom * scale + 2 * beyond]].astype(np.float32)
            fewer_rows = _filter_and_decimate(strip, taps, scale)
            columns = np.pad(fewer_rows.T, ((beyond, beyond), (0, 0)), mode="symmetric")
            out[top:bottom] = _filter_and_decimate(columns, taps, scale).T
    return coarse


def response_taps(name: str, scale: int) -> np.ndarray:
    """Return the taps (float64, sum 1) along one axis; the box of a coarse pixel lies in their middle.

    Raises DegradationError for an unknown name.
    """
    if name == "box":
        return np.full(scale, 1.0 / scale)
    if name == "bicubic":
        # Up to two coarse pixels on each side of the centre, which lies between two fine pixels if the scale is even.
        reach = 2 * scale - 1 + (scale % 2 == 0) * 0.5
        taps = _keys(np.arange(-reach, reach + 1) / scale)
        return taps / taps.sum()
    if name == "gauss1_bicubic":
        offsets = np.arange(-_GAUSS1_RADIUS_PX, _GAUSS1_RADIUS_PX + 1)
        gauss = np.exp(-0.5 * offsets**2)
        # Both are symmetric, so filtering once by their convolution treats mirrored borders as filtering twice does.
        return np.convolve(gauss / gauss.sum(), response_taps("bicubic", scale))
    raise DegradationError(f"unknown degradation {name!r}", cure=f"choose one of {', '.join(LAWS)}")


def support_px(name: str, scale: int) -> int:
    """Return how many fine pixels beyond its own box a coarse pixel depends on, on each side."""
    return (len(response_taps(name, scale)) - scale) // 2


def _keys(x: np.ndarray) -> np.ndarray:
    """Return Keys' cubic with a = -0.5 at the distances x."""
    x = np.abs(x)
    inner = 1.5 * x**3 - 2.5 * x**2 + 1.0
    outer = -0.5 * x**3 + 2.5 * x**2 - 4.0 * x + 2.0
    return np.where(x <= 1, inner, np.where(x < 2, outer, 0.0))


def _filter_and_decimate(image: np.ndarray, taps: np.ndarray, scale: int) -> np.ndarray:
    """Filter and decimate along the first axis, which has been continued at its ends: one multiply-add a tap."""
    count = (len(image) - len(taps)) // scale + 1
    out = np.zeros((count, image.shape[1]), image.dtype)
    for k, tap in enumerate(taps.astype(image.dtype)):
        out += tap * image[k : k + scale * (count - 1) + 1 : scale]
    return out
