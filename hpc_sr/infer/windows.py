"""Windows: which pixels are predicted, and which must be read for it. Pure integers.

A window's `core` is what is kept, the `halo` what is read around it and thrown away. Windows start on multiples that
the network asks for, so what it computes for a pixel does not depend on the tiling. Beyond the border an image is
mirrored (symmetrically: the border pixel twice).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np

from hpc_sr.errors import ShapeError

T = TypeVar("T")


@dataclass(frozen=True)
class Area:
    """A rectangle of pixels: upper-left row and column, height and width."""

    row: int
    column: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.row, self.row + self.height), slice(self.column, self.column + self.width)

    def grown(self, by_px: int) -> Area:
        """Return the area with `by_px` more on every side."""
        return Area(self.row - by_px, self.column - by_px, self.height + 2 * by_px, self.width + 2 * by_px)

    def aligned(self, multiple_px: int) -> Area:
        """Return the smallest area around this one whose edges lie on multiples."""
        row, column = self.row // multiple_px * multiple_px, self.column // multiple_px * multiple_px
        bottom = -(-(self.row + self.height) // multiple_px) * multiple_px
        right = -(-(self.column + self.width) // multiple_px) * multiple_px
        return Area(row, column, bottom - row, right - column)

    def within(self, height: int, width: int) -> Area:
        """Return the part that lies in an image of this size."""
        return self.common(Area(0, 0, height, width))

    def common(self, other: Area) -> Area:
        """Return what two areas share; nothing, with a height or width of 0 or less, where they do not meet."""
        row, column = max(self.row, other.row), max(self.column, other.column)
        bottom = min(self.row + self.height, other.row + other.height)
        right = min(self.column + self.width, other.column + other.width)
        return Area(row, column, bottom - row, right - column)

    def joined(self, other: Area) -> Area:
        """Return the smallest area that holds both."""
        row, column = min(self.row, other.row), min(self.column, other.column)
        bottom = max(self.row + self.height, other.row + other.height)
        right = max(self.column + self.width, other.column + other.width)
        return Area(row, column, bottom - row, right - column)

    def relative_to(self, other: Area) -> Area:
        """Return this area with coordinates counted from the other's corner."""
        return Area(self.row - other.row, self.column - other.column, self.height, self.width)

    def divided(self, stride: int) -> Area:
        """Return the area on a grid whose pixels span `stride` of this grid's."""
        assert not (self.row % stride or self.column % stride or self.height % stride or self.width % stride)
        return Area(self.row // stride, self.column // stride, self.height // stride, self.width // stride)

    def times(self, scale: int) -> Area:
        """Return the area on a grid `scale` times finer."""
        return Area(self.row * scale, self.column * scale, self.height * scale, self.width * scale)


def tile_cores(height: int, width: int, core_px: int, shift_px: int = 0) -> list[Area]:
    """Return the cores that cover an image, row by row: every pixel lies in exactly one.

    The edges between them lie `shift_px` beyond multiples of `core_px`: the first cores are larger by that.
    """
    if height < 1 or width < 1 or core_px < 1 or shift_px < 0:
        raise ShapeError(f"cannot tile {height} x {width} px with cores of {core_px} px, shifted by {shift_px} px")
    rows, columns = ([0, *range(core_px + shift_px, size, core_px), size] for size in (height, width))
    return [
        Area(row, column, below - row, beside - column)
        for row, below in pairwise(rows)
        for column, beside in pairwise(columns)
    ]


def stretch_of(items: Sequence[T], rank: int, world_size: int) -> Sequence[T]:
    """Return a rank's part of windows in order: neighbours, so that what they share is worked out once."""
    first, last = (len(items) * part // world_size for part in (rank, rank + 1))
    return items[first:last]


def middle_of(height: int, width: int, size_px: int, multiple_px: int) -> Area:
    """Return the middle of an image, at most `size_px` a side, with its edges on multiples."""
    rows, columns = (min(size_px, whole) // multiple_px * multiple_px for whole in (height, width))
    row, column = (
        (whole - part) // 2 // multiple_px * multiple_px for whole, part in ((height, rows), (width, columns))
    )
    return Area(row, column, rows, columns)


def read_mirrored(read: Callable[[Area], np.ndarray], area: Area, height: int, width: int) -> np.ndarray:
    """Return (..., H, W) values of an area that may reach beyond the image; `read` is asked for inside areas only."""
    rows = _mirrored(area.row, area.height, height)
    columns = _mirrored(area.column, area.width, width)
    top, left = rows.min(), columns.min()
    inside = Area(int(top), int(left), int(rows.max() - top + 1), int(columns.max() - left + 1))
    values = read(inside)
    if inside == area:
        return values
    return values[..., (rows - top)[:, None], (columns - left)[None, :]]


def _mirrored(start: int, count: int, size: int) -> np.ndarray:
    """Return the indices start .. start + count folded back into 0 .. size - 1, border pixels repeated."""
    folded = np.arange(start, start + count) % (2 * size)
    return np.where(folded < size, folded, 2 * size - 1 - folded)
