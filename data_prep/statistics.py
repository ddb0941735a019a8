"""Per-band mean and standard deviation as sums that merge over products."""

from __future__ import annotations

import math

import numpy as np

from hpc_sr.shards import schema

#: Of each layer.
Sums = dict[str, schema.Sums]

#: Pixels of a band that are squared at a time: they fit the processor's cache.
_BLOCK_PX = 1 << 14


def measure(patches: dict[str, np.ndarray]) -> Sums:
    """Return count, sum and sum of squares per band of each layer's (N, C, H, W) int16 patches; exact."""
    sums: Sums = {}
    for name, values in patches.items():
        count, bands, height, width = values.shape
        squares = np.zeros(bands, np.int64)
        step = max(1, _BLOCK_PX // (height * width))
        for start in range(0, count, step):
            # Exact: squares of int16 are at most 2**30, and doubles hold integers up to 2**53.
            block = values[start : start + step].astype(np.float64)
            squares += np.einsum("nchw,nchw->ch", block, block).astype(np.int64).sum(1)
        sums[name] = {
            "count": count * height * width,
            "sum": values.sum((0, 2, 3), dtype=np.int64).tolist(),
            "sum_of_squares": squares.tolist(),
        }
    return sums


def merge(parts: list[Sums]) -> Sums:
    """Return the sums of all parts together."""
    merged: Sums = {}
    for part in parts:
        for name, sums in part.items():
            whole = merged.setdefault(
                name, {"count": 0, "sum": [0] * len(sums["sum"]), "sum_of_squares": [0] * len(sums["sum"])}
            )
            whole["count"] += sums["count"]
            whole["sum"] = _added(whole["sum"], sums["sum"])
            whole["sum_of_squares"] = _added(whole["sum_of_squares"], sums["sum_of_squares"])
    return merged


def finish(sums: Sums) -> dict[str, schema.Statistics]:
    """Return {"mean": [...], "std": [...]} per layer, in stored units."""
    result: dict[str, schema.Statistics] = {}
    for name, parts in sums.items():
        count = parts["count"]
        means = [total / count for total in parts["sum"]]
        squares = zip(parts["sum_of_squares"], means, strict=True)
        result[name] = {"mean": means, "std": [math.sqrt(max(s / count - m * m, 0.0)) for s, m in squares]}
    return result


def _added(ours: list[int], theirs: list[int]) -> list[int]:
    return [a + b for a, b in zip(ours, theirs, strict=True)]
