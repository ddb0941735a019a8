"""All that is known so far of one method on one image, as sums that add up over windows, batches and ranks."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from hpc_sr.comm.communicator import Comm
from hpc_sr.evaluate.metrics.measure import ImageSums, finish
from hpc_sr.evaluate.metrics.perceptual import Perceptual
from hpc_sr.evaluate.metrics.spectrum import SpectrumSums, spectra
from hpc_sr.evaluate.worst import Worst
from hpc_sr.tasks import REFLECTANCE_ONE


@dataclass(frozen=True, eq=False)
class Tally:
    """The sums of all pixels, of each class of the ground, of power spectra and of NIQE and LPIPS; seconds; and where
    the method errs most."""

    sums: ImageSums
    classes: dict[str, ImageSums] = field(default_factory=dict)
    spectrum: SpectrumSums | None = None
    perceptual: np.ndarray | float = 0.0
    seconds: float = 0.0
    worst: Worst | None = None

    def __add__(self, other: Tally) -> Tally:
        """Return the tally of both parts."""
        names = dict.fromkeys([*self.classes, *other.classes])
        zero = ImageSums.zero(self.sums.bands)
        return Tally(
            self.sums + other.sums,
            {name: self.classes.get(name, zero) + other.classes.get(name, zero) for name in names},
            self.spectrum + other.spectrum if self.spectrum and other.spectrum else self.spectrum or other.spectrum,
            self.perceptual + other.perceptual,
            self.seconds + other.seconds,
            self.worst.or_worse(other.worst) if self.worst else other.worst,
        )


def finish_together(
    tallies: dict[str, Tally],
    bands: tuple[str, ...],
    scale: int,
    comm: Comm,
    perceptual: Perceptual | None = None,
    peak: float = REFLECTANCE_ONE,
) -> dict[str, Any]:
    """Return what an evaluation says of an image whose parts the ranks have tallied, as `said_of` does. Collective."""
    return said_of(of_all_ranks(tallies, comm), bands, scale, perceptual, peak)


def of_all_ranks(tallies: dict[str, Tally], comm: Comm) -> dict[str, Tally]:
    """Return the tallies of an image by method, those of the ranks added in their order. Collective."""
    gathered = comm.gather(tallies)
    return {name: reduce(add, (part[name] for part in gathered)) for name in tallies}


def said_of(
    whole: dict[str, Tally],
    bands: tuple[str, ...],
    scale: int,
    perceptual: Perceptual | None = None,
    peak: float = REFLECTANCE_ONE,
) -> dict[str, Any]:
    """Return what an evaluation says of an image: `methods`, `spectra` and `seconds`, each by method.

    Seconds are those of all ranks together.
    """
    return {
        "methods": {name: _scores(tally, bands, scale, perceptual, peak) for name, tally in whole.items()},
        "spectra": {name: tally.spectrum and spectra(tally.spectrum, bands) for name, tally in whole.items()},
        "seconds": {name: round(tally.seconds, 3) for name, tally in whole.items()},
    }


def _scores(
    tally: Tally, bands: tuple[str, ...], scale: int, perceptual: Perceptual | None, peak: float
) -> dict[str, Any]:
    scores = finish(tally.sums, bands, scale, peak)
    if perceptual is not None:
        assert isinstance(tally.perceptual, np.ndarray)
        scores["total"] |= perceptual.finish(tally.perceptual)
    classes = {name: finish(sums, bands, scale, peak) for name, sums in sorted(tally.classes.items())}
    return scores | {"classes": {name: found for name, found in classes.items() if found["pixels"]}}
