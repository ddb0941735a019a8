"""Separable filters as tensor operations: what a law of degradation, a window and an interpolation do to an image.

Shapes: (B, C, H, W). Borders are symmetric (the border pixel twice) if nothing else is said, also where a filter is
longer than the image. All are exact in the type that they are given and differentiable. None is a convolution or a
matrix product: under autocast and in TF32 libraries round the factors of these to three digits, and what remains of
a reflectance of thousands is too coarse for its detail.
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


def bicubic_down(x_BCHW: torch.Tensor, scale: int) -> torch.Tensor:
    """Return the image as `bicubic` does, finer along its columns only: (B, C, scale H, W)."""
    return F.interpolate(x_BCHW, scale_factor=(scale, 1), mode="bicubic", align_corners=False, antialias=True)


def bicubic_reduced(x_BCHW: torch.Tensor, scale: int) -> torch.Tensor:
    """Return the image on a grid `scale` times coarser, by the kernel of `bicubic` made `scale` times wider.

    Shapes: (B, C, H, W) -> (B, C, H / scale, W / scale). Units and float type as given.
    """
    size = [side // scale for side in x_BCHW.shape[2:]]  # whole numbers, where a factor would be none in a graph
    return F.interpolate(x_BCHW, size=size, mode="bicubic", align_corners=False, antialias=True)


def degraded(x_BCHW: torch.Tensor, taps_CN: torch.Tensor, scale: int) -> torch.Tensor:
    """Return the image as a law of degradation shows it: each band filtered by its taps, one value a coarse pixel.

    `taps_CN` are a band's along both axes, N - scale even; the coarse pixel lies in their middle.
    Shapes: (B, C, H, W) -> (B, C, H / scale, W / scale). Units as given.
    Raises ShapeError if H or W is no multiple of the scale or the bands are not as many as the taps are for.
    """
    check_law(x_BCHW, taps_CN, scale)
    return correlated(x_BCHW, taps_CN, scale)


def check_law(x_BCHW: torch.Tensor, taps_CN: torch.Tensor, scale: int) -> None:
    """Raise ShapeError if H or W is no multiple of the scale or the bands are not as many as the taps are for."""
    bands, height, width = x_BCHW.shape[1:]
    if height % scale or width % scale:
        raise ShapeError(
            f"{height} x {width} px is no multiple of {scale}", cure="trim the image to whole coarse pixels"
        )
    if bands != len(taps_CN):
        raise ShapeError(f"{bands} bands meet a law for {len(taps_CN)}", cure="give the taps of these bands")


def in_use() -> bool:
    """Return whether only the result is wanted: in inference mode, and not in a graph that is being captured."""
    # In this order: torch.compile and torch.export of torch 2.7 stumble over the second question.
    return not torch.compiler.is_compiling() and torch.is_inference_mode_enabled()


def correlated(x_BCHW: torch.Tensor, taps_CN: torch.Tensor, step: int = 1) -> torch.Tensor:
    """Return the image filtered along both axes, a value for every `step` x `step` pixels, which lie in the middle.

    `taps_CN` are those of each band, or (1, N) for all of them; N - step is even.
    """
    return correlated_down(correlated_down(x_BCHW, taps_CN, step).mT, taps_CN, step).mT.contiguous()


def correlated_down(x_BCHW: torch.Tensor, taps_CN: torch.Tensor, step: int = 1) -> torch.Tensor:
    """Return the image filtered along its columns, a value for every `step` pixels, which lie in the middle.

    In training and in graphs by few operations; in inference mode, where images are large, in little memory.
    """
    count, taps_CN11 = taps_CN.shape[1], taps_CN.to(x_BCHW)[..., None, None]
    if not in_use():
        return (neighbours_down(x_BCHW, count, step) * taps_CN11).sum(2)
    first, *others = each_neighbour_down(x_BCHW, count, step)
    total = first * taps_CN11[:, 0]
    for number, pixels in enumerate(others, start=1):
        total.addcmul_(pixels, taps_CN11[:, number])
    return total


def neighbours_down(x_BCHW: torch.Tensor, count: int, step: int = 1) -> torch.Tensor:
    """Return the `count` pixels of a column in whose middle each run of `step` lies, (B, C, count, H / step, W)."""
    size = x_BCHW.shape[2]
    beyond = (count - step) // 2
    offsets = torch.arange(-beyond, count - beyond, device=x_BCHW.device)
    rows = (offsets.unsqueeze(1) + torch.arange(0, size, step, device=x_BCHW.device)).flatten()
    return _rows(x_BCHW, rows).unflatten(2, (count, -1))


def each_neighbour_down(x_BCHW: torch.Tensor, count: int, step: int = 1) -> list[torch.Tensor]:
    """Return the pixels of neighbours_down one by one, as views (B, C, H / step, W) of a single copy."""
    around, rows = (count - step) // 2, x_BCHW.shape[2] // step
    offsets = torch.arange(-around, x_BCHW.shape[2] + -(-count // step) * step - around - step, device=x_BCHW.device)
    runs = _rows(x_BCHW, offsets).unflatten(2, (-1, step))
    return [runs[:, :, k // step : k // step + rows, k % step] for k in range(count)]


def _rows(x_BCHW: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return these rows; beyond the ends d c b a | a b c d | d c b a, again and again."""
    size = x_BCHW.shape[2]
    folded = rows % torch.full_like(rows, 2 * size)  # ONNX has no remainder by a size
    mirrored = torch.minimum(folded, 2 * size - 1 - folded)
    # Whole rows are copied, the faster where they are contiguous.
    return x_BCHW.contiguous().index_select(2, mirrored)


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
