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
class Facts:
    """The patches' side in target pixels, the store's units, and what was measured on the training set.

    `means` are the band means of the input layers by name, in stored units; `laws` the degradation by target. Both
    are empty where they are not known: weights that will be loaded bring their own means.
    """

    patch_px: int
    units: Units = field(default_factory=lambda: Units.of(REFLECTANCE))
    means: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    laws: Mapping[str, Law] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the facts as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Facts:
        """Return the facts that `as_json` made plain. Raises KeyError or TypeError where something is missing."""
        laws = {name: Law(_taps(law["bands"]), _taps(law["guides"])) for name, law in content["laws"].items()}
        means = {name: tuple(map(float, values)) for name, values in content["means"].items()}
        units = Units(str(content["units"]["stored"]), float(content["units"]["unit"]))
        return cls(int(content["patch_px"]), units, means, laws)


def _taps(rows: list[list[float]]) -> Taps:
    return tuple(tuple(map(float, row)) for row in rows)
