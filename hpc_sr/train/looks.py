"""From what each product of a store looks like to what all of its training ground does, and how far that carries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hpc_sr.models.facts import Looks, Span

#: A product may be so many times as far from the training ground as one of its tiles is from the others at most.
_TIMES = 2.0
#: Or as far as this share of what the ground spans, times the same, where tiles lie within each other.
_LEAST_SHARE = 0.1
_LEAST = 0.01


def looks_of(products: Iterable[Mapping[str, Any]]) -> Looks | None:
    """Return what the products to train on look like, of a manifest's lines.

    A span is that of all tiles, each from its dimmest to its brightest patches but for a twentieth. Its margin is what
    these tiles teach about a further one: how far the mean patch of one lies outside the span of the others.
    None unless there are two tiles, and all products tell what they look like: an older store's do not.
    """
    lines = [line for line in products if line["split"] == "train" and line.get("patches")]
    tiles: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        if not (line.get("looks") and line.get("tile")):
            return None
        tiles.setdefault(line["tile"], []).append(line["looks"])
    if len(tiles) < 2:
        return None
    return Looks(
        *(_spans([[seen[kind] for seen in tile] for tile in tiles.values()]) for kind in ("levels", "unexplained"))
    )


def _spans(tiles: list[list[dict[str, Sequence[float]]]]) -> dict[str, Span]:
    """Return the span of each band, given each tile's products, of one measure. Bands share what tiles teach."""
    bands = tiles[0][0]
    farthest = max(
        max(low - seen[band][1], seen[band][1] - high)
        for number, tile in enumerate(tiles)
        for band in bands
        for low, high in [_ends(tiles[:number] + tiles[number + 1 :], band)]
        for seen in tile
    )
    found = {}
    for band in bands:
        low, high = _ends(tiles, band)
        found[band] = Span(low, high, round(_TIMES * max(farthest, _LEAST_SHARE * (high - low), _LEAST), 3))
    return found


def _ends(tiles: list[list[dict[str, Sequence[float]]]], band: str) -> tuple[float, float]:
    seen = [product[band] for tile in tiles for product in tile]
    return min(shares[0] for shares in seen), max(shares[2] for shares in seen)
