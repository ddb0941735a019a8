"""Clip-and-merge: overlapping tiles are up-scaled one by one, cut amid their overlaps, laid side by side.

Tiles of `tile_px` low-resolution pixels start every `tile_px - overlap_px`; the last row and column are shifted to
end at the border. On sides inside the image half of the overlap that there really is is cut away; sides at the border
are kept whole. Gong et al., Remote Sensing 2021, 13, 1104.

A network whose reach is at most half the overlap gives what it would give on the whole image. One that looks further,
or at the whole of its input, gives a seam, as small as what it makes of pixels that far away.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch

from hpc_sr.errors import ShapeError
from hpc_sr.infer.predict import Predictor, ReadLayer
from hpc_sr.infer.windows import Area, read_mirrored
from hpc_sr.models.generator import Generator

#: The published tile and a quarter of it as overlap, in low-resolution pixels.
TILE_PX, OVERLAP_PX = 96, 24


@dataclass(frozen=True)
class Tile:
    """`seen`: the low-resolution pixels that are up-scaled together; `kept`: the result's pixels that it gives."""

    seen: Area
    kept: Area

    def cut(self, scale: int) -> tuple[slice, slice]:
        """Return where in the up-scaled tile the kept pixels lie."""
        return self.kept.relative_to(self.seen.times(scale)).slices


@dataclass(frozen=True)
class _Span:
    """A tile along one axis: what is up-scaled, and what is kept of it on the finer grid; ends are exclusive."""

    start: int
    stop: int
    first: int
    last: int


def clip_and_merge(height: int, width: int, scale: int, tile_px: int, overlap_px: int) -> list[Tile]:
    """Return the tiles of an image of `height` x `width` px, row by row: each pixel of the result is kept by one.

    Where the overlap is odd on the result's grid, the left or upper tile keeps the pixel in the middle.
    Raises ShapeError for sizes below 1 and an overlap that leaves no stride.
    """
    if min(height, width, scale, tile_px) < 1 or not 0 <= overlap_px < tile_px:
        raise ShapeError(
            f"cannot tile {height} x {width} px with tiles of {tile_px} px that overlap by {overlap_px} px",
            cure="give an overlap of 0 or more that is smaller than the tile",
        )
    rows, columns = (_spans(size, scale, tile_px, overlap_px) for size in (height, width))
    return [
        Tile(
            Area(row.start, column.start, row.stop - row.start, column.stop - column.start),
            Area(row.first, column.first, row.last - row.first, column.last - column.first),
        )
        for row in rows
        for column in columns
    ]


def upscale_tile(predictor: Predictor, read: ReadLayer, seen: Area, height: int, width: int) -> torch.Tensor:
    """Return the target bands (C, h * scale, w * scale) of a tile of an image of `height` x `width` px.

    Float32 in stored units, on the device. The image is mirrored beyond its border, as far as the network looks, at
    most a patch. `read` returns finite values of an input layer, asked in that layer's own pixels.
    """
    generator = predictor.generator
    scale = generator.task.scale
    around = _with_margins(generator, seen, height, width)
    inputs = []
    for layer in generator.task.inputs:
        finer = scale // layer.stride
        values = read_mirrored(partial(read, layer), around.times(finer), height * finer, width * finer)
        inputs.append(torch.from_numpy(values))
    estimate = predictor.estimate(inputs)
    return estimate[(slice(None), *seen.relative_to(around).times(scale).slices)]


def exact_overlap_px(generator: Generator) -> int:
    """Return the smallest overlap with which tiles give what the whole image would, for convolutions."""
    return 2 * -(-generator.halo_px // generator.task.scale)


def _spans(size: int, scale: int, tile_px: int, overlap_px: int) -> list[_Span]:
    last_start = max(0, size - tile_px)
    starts = [*range(0, last_start, tile_px - overlap_px), last_start]
    stops = [min(start + tile_px, size) for start in starts]
    # The middle of the overlap, on the result's grid, rounded towards the tile on the right.
    cuts = [-(-(right + stop) * scale // 2) for (_, right), stop in zip(pairwise(starts), stops, strict=False)]
    edges = [0, *cuts, size * scale]
    return [_Span(*span) for span in zip(starts, stops, edges[:-1], edges[1:], strict=True)]


def _with_margins(generator: Generator, seen: Area, height: int, width: int) -> Area:
    """Return what the network is given for a tile: more where the image ends, and whole multiples of what it asks.

    More is as far as it looks, but no more than a training patch: what a deep network sees there is made up. All
    tiles begin on one grid of such multiples: what a network pools together is the same in a tile and in the whole.
    """
    scale = generator.task.scale
    margin = -(-min(generator.halo_px, generator.facts.patch_px) // scale)
    unit = generator.multiple_px // scale
    top, left = (margin if start == 0 else (margin + start) % unit for start in (seen.row, seen.column))
    bottom = margin if seen.row + seen.height == height else 0
    right = margin if seen.column + seen.width == width else 0
    rows, columns = seen.height + top + bottom, seen.width + left + right
    return Area(seen.row - top, seen.column - left, -(-rows // unit) * unit, -(-columns // unit) * unit)
