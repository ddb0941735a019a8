"""Random numbers that are functions of a place: hashes, smooth noise and cells, without a state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_PRIMES = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F
#: A cell in row r and column c is called r * _STRIDE + c.
_STRIDE = 1 << 24


@dataclass(frozen=True)
class Cells:
    """Which cell each place lies in, the nearest other cell, and the distance to the border between them."""

    cell: np.ndarray
    neighbour: np.ndarray
    border_px: np.ndarray


def hashed(seed: int, salt: int, key: np.ndarray) -> np.ndarray:
    """Return numbers in [0, 1), float32, that depend on (seed, salt, key) and on nothing else."""
    start = (seed * 1_000_003 + salt * 7919 + 1) * _PRIMES[1] % 2**64
    mixed = key.astype(np.int64).view(np.uint64) * np.uint64(_PRIMES[0]) + np.uint64(start)
    for shift in (31, 29):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(_PRIMES[1])
    return (mixed >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def noise(seed: int, salt: int, y: np.ndarray, x: np.ndarray, period_px: float) -> np.ndarray:
    """Return smooth noise in -1..1 (len(y), len(x)) float32 whose features are about `period_px` wide."""
    (row, down), (column, right) = (_node(axis, period_px) for axis in (y, x))
    rows, columns = np.arange(row[0], row[-1] + 2), np.arange(column[0], column[-1] + 2)
    nodes = hashed(seed, salt, rows[:, None] * _STRIDE + columns[None]) * 2 - 1
    lines = nodes[row - row[0]] * (1 - down)[:, None] + nodes[row - row[0] + 1] * down[:, None]
    return lines[:, column - column[0]] * (1 - right) + lines[:, column - column[0] + 1] * right


def cells(seed: int, salt: int, y: np.ndarray, x: np.ndarray, size_px: float) -> Cells:
    """Return the Voronoi cells, about `size_px` wide, of points strewn over the plane, at the places (y, x)."""
    y, x = y / np.float32(size_px), x / np.float32(size_px)
    row, column = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    top, left = row.min() - 1, column.min() - 1
    width = int(column.max() + 2 - left)
    rows, columns = np.arange(top, row.max() + 2), np.arange(left, column.max() + 2)
    names = (rows[:, None] * _STRIDE + columns[None]).ravel()
    point_y = (np.repeat(rows, width) + 0.15 + 0.7 * hashed(seed, salt, names)).astype(np.float32)
    point_x = (np.tile(columns, len(rows)) + 0.15 + 0.7 * hashed(seed, salt + 50_000, names)).astype(np.float32)
    first = np.full(y.shape, np.inf, np.float32)
    second, cell, neighbour = first.copy(), np.zeros(y.shape, np.int32), np.zeros(y.shape, np.int32)
    home = ((row - top) * width + (column - left)).astype(np.int32)
    for step in (-1, 0, 1):
        for side in (-1, 0, 1):
            candidate = home + (step * width + side)
            squared = (point_y[candidate] - y) ** 2 + (point_x[candidate] - x) ** 2
            nearer, between = squared < first, (squared >= first) & (squared < second)
            neighbour = np.where(nearer, cell, np.where(between, candidate, neighbour))
            second = np.where(nearer, first, np.where(between, squared, second))
            cell, first = np.where(nearer, candidate, cell), np.where(nearer, squared, first)
    apart = np.hypot(point_y[cell] - point_y[neighbour], point_x[cell] - point_x[neighbour])
    return Cells(names[cell], names[neighbour], (second - first) / (2 * apart) * np.float32(size_px))


def parent(cell: np.ndarray) -> np.ndarray:
    """Return the name of the block of 2 x 2 cells that each cell belongs to; no cell is called so."""
    row = (cell + _STRIDE // 2) // _STRIDE
    return (row // 2 + _STRIDE) * _STRIDE + (cell - row * _STRIDE) // 2


def blend(value: np.ndarray) -> np.ndarray:
    """Return the values cut to 0..1."""
    return np.clip(value, 0, 1).astype(np.float32, copy=False)


def _node(axis: np.ndarray, period_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the lattice node before each place and the smoothed way to the next."""
    place = axis / period_px
    node = np.floor(place).astype(np.int64)
    way = (place - node).astype(np.float32)
    return node, way * way * (3 - 2 * way)
