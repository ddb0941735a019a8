"""What a network knows of the store that it is trained on: plain numbers, free of torch.

They are measured before training and kept in the network's card, so applying it needs no other file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hpc_sr.tasks import REFLECTANCE, Units

#: Taps along an axis, a row for each band; they add up to 1.
Taps = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Law:
    """How coarse bands follow from fine ones, as taps: for a target's `bands`, and for the guides at the same scale.

    The guides are the finest measured bands. A band is filtered by its taps along both axes.
    """

    bands: Taps
    guides: Taps


@dataclass(frozen=True)
class Span:
    """What most patches show, from `low` to `high`; values up to `margin` beyond are still like them."""

    low: float
    high: float
    margin: float

    def beyond(self, value: float) -> float:
        """Return how far a value lies outside, in margins: more than 1 is unlike."""
        return max(self.low - value, value - self.high, 0.0) / self.margin


@dataclass(frozen=True)
class Looks:
    """What the training ground looks like, by band; `hpc_sr.sentinel2.looks` has the two measures."""

    levels: Mapping[str, Span]
    unexplained: Mapping[str, Span]


@dataclass(frozen=True)
class Facts:
    """The patches' side in target pixels, the store's units, and what was measured on the training set.

    `means` are the band means of the input layers by name, in stored units; `laws` the degradation by target. Both
    are empty where they are not known: weights that will be loaded bring their own means. `looks` is None where the
    training ground is not known, or too little of it to say what is unlike.
    """

    patch_px: int
    units: Units = field(default_factory=lambda: Units.of(REFLECTANCE))
    means: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    laws: Mapping[str, Law] = field(default_factory=dict)
    looks: Looks | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the facts as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Facts:
        """Return the facts that `as_json` made plain. Raises KeyError or TypeError where something is missing."""
        laws = {name: Law(_taps(law["bands"]), _taps(law["guides"])) for name, law in content["laws"].items()}
        means = {name: tuple(map(float, values)) for name, values in content["means"].items()}
        told = content.get("looks")  # cards of before do not have it
        looks = told and Looks(_spans(told["levels"]), _spans(told["unexplained"]))
        units = Units(str(content["units"]["stored"]), float(content["units"]["unit"]))
        return cls(int(content["patch_px"]), units, means, laws, looks)


def _spans(content: dict[str, dict[str, float]]) -> dict[str, Span]:
    return {band: Span(**{key: float(value) for key, value in span.items()}) for band, span in content.items()}


def _taps(rows: list[list[float]]) -> Taps:
    return tuple(tuple(map(float, row)) for row in rows)
