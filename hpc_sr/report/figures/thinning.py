"""Long curves by few points, so that a page stays small however long a run was: what stands out stays."""

from __future__ import annotations

#: Two for each pixel of a plot on most screens.
MOST_POINTS = 1000

Point = tuple[float, float]


def thinned(points: list[Point], most: int = MOST_POINTS) -> list[Point]:
    """Return at most `most` points of a curve: its ends, and of each stretch the lowest and the highest, in order."""
    if len(points) <= most:
        return points
    kept = {0, len(points) - 1}
    for stretch in _stretches(range(1, len(points) - 1), (most - 2) // 2):
        kept |= {pick(stretch, key=lambda index: points[index][1]) for pick in (min, max)}
    return [points[index] for index in sorted(kept)]


def averaged(
    edges: list[float], rows: list[list[float]], most: int = MOST_POINTS
) -> tuple[list[float], list[list[float]]]:
    """Return rows of values between edges, one more than values, as at most `most` means of neighbours."""
    count = len(edges) - 1
    if count <= most:
        return edges, rows
    stretches = _stretches(range(count), most)
    means = [[sum(row[i] for i in part) / len(part) for part in stretches] for row in rows]
    return [*(edges[part[0]] for part in stretches), edges[-1]], means


def _stretches(indices: range, count: int) -> list[range]:
    """Return the indices in so many stretches, as even as can be."""
    edges = [len(indices) * part // count for part in range(count + 1)]
    return [indices[start:end] for start, end in zip(edges[:-1], edges[1:], strict=True) if start < end]
