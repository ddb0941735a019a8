"""Separable filters as tensor operations: what a law of degradation, a window and an interpolation do to an image.

Shapes: (B, C, H, W). Borders are symmetric (the border pixel twice) if nothing else is said, also where a filter is
longer than the image. All are exact in the type that they are given and differentiable. A filter is a sum of shifted
images, not a convolution: libraries round the factors of convolutions where the hardware is faster that way, under
autocast and in TF32, to three digits. Here values of thousands lose that, and with it the detail.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from hpc_sr.errors import ShapeError

#: Taps of bands along an axis (C, N): a tensor, an array or plain numbers.
Taps = torch.Tensor | np.ndarray | Sequence[Sequence[float]]

#: Coarse pixels that an interpolation looks at on each side of the one that a fine pixel lies in.
NEAREST_REACH_PX, BILINEAR_REACH_PX, BICUBIC_REACH_PX = 0, 1, 2


def nearest(x_BCHW: torch.Tensor, scale: int) -> torch.Tensor:
    """Return the image on a grid `scale` times finer: each fine pixel has the value of the coarse one it lies in.

    Shapes: (B, C, H, W) -> (B, C, scale H, scale W). Units and type as given; NaN stays where it is.
    """
    return x_BCHW.repeat_interleave(scale, dim=-2).repeat_interleave(scale, dim=-1)


def bicubic(x_BCHW: torch.Tensor, scale: int) -> torch.Tensor:
    """Return the image on a grid `scale` times finer, by cubic convolution with a = -0.5.

    Pixel areas keep their places (a coarse pixel covers its scale x scale fine ones). At the border the weights of
    the pixels that exist are normalised. Source: Keys, IEEE TASSP 1981. `antialias` changes nothing in an enlargement
    but the kernel: without it the library takes a = -0.75.

    Shapes: (B, C, H, W) -> (B, C, scale H, scale W). Units and float type as given; may overshoot the input's range.
    """
    return F.interpolate(x_BCHW, scale_factor=scale, mode="bicubic", align_corners=False, antialias=True)


def degraded(x_BCHW: torch.Tensor, taps_CN: torch.Tensor, scale: int) -> torch.Tensor:
    """Return the image as a law of degradation shows it: each band filtered by its taps, one value a coarse pixel.

    `taps_CN` are a band's along both axes, N - scale even; the coarse pixel lies in their middle.
    Shapes: (B, C, H, W) -> (B, C, H / scale, W / scale). Units as given.
    Raises ShapeError if H or W is no multiple of the scale or the bands are not as many as the taps are for.
    """
    bands, height, width = x_BCHW.shape[1:]
    if height % scale or width % scale:
        raise ShapeError(
            f"{height} x {width} px is no multiple of {scale}", cure="trim the image to whole coarse pixels"
        )
    if bands != len(taps_CN):
        raise ShapeError(f"{bands} bands meet a law for {len(taps_CN)}", cure="give the taps of these bands")
    return correlated(correlated(x_BCHW, taps_CN, 2, scale), taps_CN, 3, scale)


def correlated(x_BCHW: torch.Tensor, taps_CN: torch.Tensor, dim: int, step: int = 1) -> torch.Tensor:
    """Return the image filtered along `dim` (2: down, 3: across), a value for every `step` pixels in their middle.

    `taps_CN` are those of each band, or (1, N) for all of them; N - step is even.
    """
    first, *others = zip(shifts(x_BCHW, taps_CN.shape[1], dim, step), _by_tap(taps_CN, x_BCHW), strict=True)
    total = first[0] * first[1]
    for shifted, tap in others:
        total = torch.addcmul(total, shifted, tap)
    return total


def shifts(x_BCHW: torch.Tensor, count: int, dim: int, step: int = 1) -> list[torch.Tensor]:
    """Return what a filter of `count` taps along `dim` looks at, tap by tap: views, every `step` pixels."""
    size = x_BCHW.shape[dim]
    longer = mirrored(x_BCHW, (count - step) // 2, dim)
    last = size - step + 1
    if dim == 2:
        return [longer[:, :, k : k + last : step] for k in range(count)]
    return [longer[:, :, :, k : k + last : step] for k in range(count)]


def mirrored(x_BCHW: torch.Tensor, by_px: int, dim: int) -> torch.Tensor:
    """Return the image with `by_px` more at both ends of `dim`, symmetric: d c b a | a b c d | d c b a."""
    if by_px == 0:
        return x_BCHW
    size = x_BCHW.shape[dim]
    places = torch.arange(-by_px, size + by_px, device=x_BCHW.device)
    folded = places % torch.full_like(places, 2 * size)  # ONNX has no remainder by a size
    return x_BCHW.index_select(dim, torch.minimum(folded, 2 * size - 1 - folded))


def gaussian_taps(sigma_px: float, cut_sigma: float) -> torch.Tensor:
    """Return the taps (1, N) of a Gaussian that ends at `cut_sigma` standard deviations, of sum 1, float64."""
    radius_px = int(cut_sigma * sigma_px + 0.5)
    offsets = torch.arange(-radius_px, radius_px + 1, dtype=torch.float64, device="cpu")
    taps = torch.exp(-0.5 * (offsets / sigma_px) ** 2)
    return (taps / taps.sum())[None]


def coarse_support_px(taps_CN: torch.Tensor, scale: int) -> int:
    """Return how many coarse pixels beyond its own a degraded pixel depends on, on each side."""
    return -(-(taps_CN.shape[1] - scale) // 2 // scale)


def taps_of(taps: Taps) -> torch.Tensor:
    """Return taps (C, N) in float64 and in memory, also while a network is built without storage."""
    return torch.as_tensor(taps, dtype=torch.float64, device="cpu")


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Return the values in float32, or as they are in float64. Sums of products keep that, also under autocast."""
    return x if x.dtype == torch.float64 else x.float()


def _by_tap(taps_CN: torch.Tensor, like_BCHW: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the taps one by one, (C, 1, 1), in the image's type and place."""
    return taps_CN.to(like_BCHW)[..., None, None].unbind(1)
