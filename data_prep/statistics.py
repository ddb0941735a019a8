"""Per-band mean and standard deviation as sums that merge over products."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Sums = dict[str, dict[str, Any]]


def measure(patches: dict[str, np.ndarray]) -> Sums:
    """Return count, sum and sum of squares per band of each layer's (N, C, H, W) patches; integers, hence exact."""
    sums: Sums = {}
    for name, values in patches.items():
        wide = values.astype(np.int64)
        sums[name] = {
            "count": values.size // values.shape[1] if values.size else 0,
            "sum": wide.sum((0, 2, 3)).tolist(),
            "sum_of_squares": (wide * wide).sum((0, 2, 3)).tolist(),
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
            for key in ("sum", "sum_of_squares"):
                whole[key] = [a + b for a, b in zip(whole[key], sums[key], strict=True)]
    return merged


def finish(sums: Sums) -> dict[str, dict[str, list[float]]]:
    """Return {"mean": [...], "std": [...]} per layer, in stored units."""
    result = {}
    for name, parts in sums.items():
        count = parts["count"]
        means = [total / count for total in parts["sum"]]
        squares = zip(parts["sum_of_squares"], means, strict=True)
        result[name] = {"mean": means, "std": [math.sqrt(max(s / count - m * m, 0.0)) for s, m in squares]}
    return result
