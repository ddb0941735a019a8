"""The degradation: what the same instrument would see at `scale` times the GSD. The law's only home.

It makes the training pairs, judges consistency and is stamped into every store, checkpoint and report. Two laws:

`wald`  Gaussian of sigma 1/scale pixels, then a scale x scale mean (Lanaras et al. 2018). What published tables use.
        At scale 6 the Gaussian's side taps are 1.5e-8: it is a plain mean.
`mtf`   per band and satellite. A band already carries its own point spread, MTF M at its own Nyquist; the same optics
        at `scale` times the GSD would have M at the coarse Nyquist. With Gaussian optics the extra response is
        M**(1 - 1/scale**2) there, and the mean supplies 1/(scale sin(pi/(2 scale))) of it; the Gaussian's sigma is
        solved on the sampled kernel, so that Gaussian x mean meets the law exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq

from hpc_sr.errors import DegradationError, ShapeError, UnknownSatelliteError
from hpc_sr.sentinel2.bands import SATELLITES, mtf_nyquist

DEGRADATIONS = ("wald", "mtf")

#: Taps below this share do not change a uint16 product, and dropping them keeps nodata from spreading through them.
_NEGLIGIBLE = 1e-7


@dataclass(frozen=True)
class Kernel:
    """The blur of each band, in pixels of the fine grid, before the scale x scale mean."""

    name: str
    scale: int
    sigma_px: tuple[float, ...]


def kernel(
    name: str, scale: int, bands: tuple[str, ...], satellite: str, mtf_shift: Mapping[str, float] | None = None
) -> Kernel:
    """Return the kernel of the degradation called `name` for these bands; `mtf_shift` is added to a band's MTF.

    A satellite of "" is not known: that is enough as long as the kernels of all satellites are the same.
    Raises DegradationError for an unknown name; UnknownBandError or UnknownSatelliteError where `mtf` has no value.
    """
    if name == "wald":
        return Kernel("wald", scale, tuple(1.0 / scale for _ in bands))
    if name == "mtf":
        shift = mtf_shift or {}
        known = {
            tuple(mtf_nyquist(band, each) + shift.get(band, 0.0) for band in bands)
            for each in ([satellite] if satellite else SATELLITES)
        }
        if len(known) > 1:
            raise UnknownSatelliteError(
                "the satellite is not known, and the MTF of these bands differs between them",
                cure=f"tell the satellite ({', '.join(SATELLITES)}), or choose wald",
            )
        return Kernel("mtf", scale, tuple(_mtf_sigma_px(value, scale) for value in known.pop()))
    raise DegradationError(f"unknown degradation {name!r}", cure=f"choose one of {', '.join(DEGRADATIONS)}")


def degrade(reflectance_CHW: np.ndarray, kernel: Kernel) -> np.ndarray:
    """Return the image as the same instrument would see it at `kernel.scale` times the GSD.

    Each band is blurred by its Gaussian (cut at 4 sigma, symmetric borders) and averaged over scale x scale boxes.

    Shapes: (C, H, W) -> (C, H / scale, W / scale). Units and float type as given. NaN marks nodata: a coarse pixel
    whose support holds one is NaN. Apply it to whole tiles, never to patches.
    Raises ShapeError if H or W is no multiple of the scale or the bands do not match the kernel's.
    """
    channels, height, width = reflectance_CHW.shape
    scale = kernel.scale
    if height % scale or width % scale:
        raise ShapeError(
            f"{height} x {width} px is no multiple of {scale}", cure="trim the image to whole coarse pixels"
        )
    if channels != len(kernel.sigma_px):
        raise ShapeError(f"{channels} bands meet a kernel for {len(kernel.sigma_px)}")
    coarse = np.empty((channels, height // scale, width // scale), reflectance_CHW.dtype)
    for index, sigma_px in enumerate(kernel.sigma_px):
        taps = response_taps(sigma_px, scale)
        rows = _blur_and_average(reflectance_CHW[index], taps, scale)
        coarse[index] = _blur_and_average(rows.T, taps, scale).T
    return coarse


def response_taps(sigma_px: float, scale: int) -> np.ndarray:
    """Return the taps of Gaussian and mean together; the window of a coarse pixel lies in their middle."""
    taps = np.convolve(_gaussian_taps(sigma_px, int(4 * sigma_px + 0.5)), np.full(scale, 1.0 / scale))
    kept = np.flatnonzero(taps > _NEGLIGIBLE)
    taps = taps[kept[0] : kept[-1] + 1]
    return taps / taps.sum()


def taps_of_bands(kernel: Kernel) -> np.ndarray:
    """Return the taps of every band (C, N), shorter ones with zeros around them; N - scale is even."""
    taps = [response_taps(sigma, kernel.scale) for sigma in kernel.sigma_px]
    longest = max(len(each) for each in taps)
    return np.stack([np.pad(each, (longest - len(each)) // 2) for each in taps])


def support_px(kernel: Kernel) -> int:
    """Return how many fine pixels beyond its own box a coarse pixel depends on, on each side."""
    return max((len(response_taps(sigma, kernel.scale)) - kernel.scale) // 2 for sigma in kernel.sigma_px)


def _blur_and_average(image: np.ndarray, taps: np.ndarray, scale: int) -> np.ndarray:
    """Filter and decimate along the first axis: one strided multiply-add a tap, no full-size intermediate."""
    beyond = (len(taps) - scale) // 2
    padded = np.pad(image, ((beyond, beyond), (0, 0)), mode="symmetric")
    count = image.shape[0] // scale
    out = np.zeros((count, image.shape[1]), image.dtype)
    for k, tap in enumerate(taps.astype(image.dtype)):
        out += tap * padded[k : k + scale * (count - 1) + 1 : scale]
    return out


def _gaussian_taps(sigma_px: float, radius_px: int) -> np.ndarray:
    offsets = np.arange(-radius_px, radius_px + 1)
    taps = np.exp(-0.5 * (offsets / sigma_px) ** 2)
    return taps / taps.sum()


@lru_cache
def _mtf_sigma_px(mtf: float, scale: int) -> float:
    """Return the sigma whose sampled Gaussian, with the mean, has response M**(1 - 1/scale**2) at coarse Nyquist."""
    mean_response = 1.0 / (scale * math.sin(math.pi / (2 * scale)))
    wanted = mtf ** (1.0 - 1.0 / scale**2) / mean_response
    continuous = scale / math.pi * math.sqrt(-2.0 * math.log(wanted))

    def excess(sigma_px: float) -> float:
        # The radius follows sigma, as in response_taps; a step of it changes the response by less than 1e-4.
        radius = int(4 * sigma_px + 0.5)
        phases = np.cos(math.pi / scale * np.arange(-radius, radius + 1))
        return float(_gaussian_taps(sigma_px, radius) @ phases) - wanted

    return brentq(excess, 0.5 * continuous, 2.0 * continuous, xtol=1e-9)
