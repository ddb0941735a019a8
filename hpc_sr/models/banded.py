"""Filters of whole windows, quick on a CPU: a fine image as its phases, each as large as the coarse image.

Phase (i, j) of an image on a grid `scale` times finer are the pixels in row i and column j of every coarse pixel. On
phases an interpolation, a law of degradation, and one after the other are the same thing: each pixel is a weighted sum
of few along an axis, and only at borders the weights differ. The weights are read off from the filters themselves, so
these are the same filters, but for rounding, without convolutions. Nothing is copied for a tap, and a run of rows
stays in the processor's cache until all its taps are added.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from types import EllipsisType
from typing import NamedTuple

import torch

#: Values that are worked on together: what is read and written for them stays in the cache of one core.
_RUN_VALUES = 2**17

#: A fine image: its phases (B, C, h, w), row by row.
Phases = list[torch.Tensor]

#: Where pixels lie in an image.
Place = tuple[EllipsisType, slice, slice]

_ALL = slice(None)


class Tap(NamedTuple):
    """To each pixel of phase `to`, `weights` times the one of phase `source` that is `shift` further on."""

    to: int
    source: int
    shift: int
    weights: torch.Tensor


class Band(NamedTuple):
    """A filter along an axis of an image: so many phases come out, by these taps."""

    axis: int
    phases: int
    taps: list[Tap]


def band_of(
    down: Callable[[torch.Tensor], torch.Tensor], axis: int, like: torch.Tensor, sources: int, reach_px: int
) -> Band:
    """Return a filter along an axis, -2 or -1, of coarse images that are as long as one like `like`.

    `down` is the filter down the columns of float64 images (1, 1, sources * size, W), each band's own if it returns
    several. Of the `sources` phases it sees coarse pixels up to `reach_px` away.
    """
    size, period = like.shape[axis], 2 * reach_px + 1
    # In each column the ones are so far apart that no pixel sees two: what comes of them are the weights.
    ones = torch.eye(period * sources, dtype=torch.float64, device="cpu").repeat(-(-size // period), 1)
    weights_CnpX = down(ones[None, None, : size * sources])[0].unflatten(1, (size, -1))
    places, taps = torch.arange(size, device="cpu"), list[Tap]()
    for to in range(weights_CnpX.shape[2]):
        for source in range(sources):
            for shift in sorted(range(-reach_px, reach_px + 1), key=abs):
                weights = weights_CnpX[:, places, to, (places + shift) % period * sources + source]
                # The first tap of a phase makes the sum that the others are added to: it has to be there everywhere.
                if weights.any() or source == shift == 0:
                    taps.append(Tap(to, source, shift, weights.unsqueeze(-1 if axis == -2 else -2).to(like)))
    return Band(axis, weights_CnpX.shape[2], taps)


def filtered(phases: Sequence[torch.Tensor], band: Band) -> list[torch.Tensor]:
    """Return the phases that a filter along an axis makes of phases (B, C, h, w) along it."""
    found = [torch.empty_like(phases[0], memory_format=torch.contiguous_format) for _ in range(band.phases)]
    for tap, here, there, weights in steps(band, phases[0]):
        pixels, total = phases[tap.source][there], found[tap.to][here]
        if tap.source == tap.shift == 0:
            torch.mul(pixels, weights, out=total)
        else:
            total.addcmul_(pixels, weights)
    return found


def steps(band: Band, x_BChw: torch.Tensor) -> Iterator[tuple[Tap, Place, Place, torch.Tensor]]:
    """Yield, run by run of an image's rows, each tap, which pixels it adds to and which it sees, and their weights."""
    height, width = x_BChw.shape[-2:]
    for run in runs_of(x_BChw):
        for tap in band.taps:
            start, stop, size = (run.start, run.stop, height) if band.axis == -2 else (0, width, width)
            first, last = max(start, -tap.shift), min(stop, size - tap.shift)
            if first >= last:
                continue
            own, seen = slice(first, last), slice(first + tap.shift, last + tap.shift)
            if band.axis == -2:
                yield tap, (..., own, _ALL), (..., seen, _ALL), tap.weights[..., own, :]
            else:
                yield tap, (..., run, own), (..., run, seen), tap.weights[..., own]


def finer(x_BChw: torch.Tensor, bands: tuple[Band, Band]) -> Iterator[torch.Tensor]:
    """Yield the phases of an image's enlargement, row by row, by a filter down the columns and one along the rows."""
    for row in filtered([x_BChw], bands[0]):
        yield from filtered([row], bands[1])


def coarser(phases: Phases, bands: tuple[Band, Band]) -> torch.Tensor:
    """Return what a fine image, or a coarse one as its only phase, is on the coarse grid: (B, C, h, w)."""
    sources = math.isqrt(len(phases))
    rows = (phases[first : first + sources] for first in range(0, len(phases), sources))
    return filtered([filtered(row, bands[1])[0] for row in rows], bands[0])[0]


def phases_of(x_BCHW: torch.Tensor, scale: int) -> Phases:
    """Return the phases of a fine image."""
    return [x_BCHW[..., i::scale, j::scale].contiguous() for i in range(scale) for j in range(scale)]


def image_of(phases: Phases, scale: int) -> torch.Tensor:
    """Return the fine image (B, C, H, W) of its phases."""
    *leading, height, width = phases[0].shape
    image = phases[0].new_empty(*leading, scale * height, scale * width)
    for number, phase in enumerate(phases):
        image[..., number // scale :: scale, number % scale :: scale] = phase
    return image


def runs_of(x_BChw: torch.Tensor) -> list[slice]:
    """Return the runs of rows that an image is worked on in; on a GPU it is one."""
    height, width = x_BChw.shape[-2:]
    rows = max(1, _RUN_VALUES // (x_BChw.shape[:-2].numel() * width)) if x_BChw.device.type == "cpu" else height
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]
