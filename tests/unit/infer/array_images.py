"""Images made of arrays and networks whose output is known, for the tests beside this."""

from __future__ import annotations

import numpy as np
import torch

from hpc_sr.infer.images import Radiometry
from hpc_sr.infer.predict import Predictor
from hpc_sr.infer.super_resolve import Model
from hpc_sr.infer.windows import Area
from hpc_sr.models.build import build_generator
from hpc_sr.models.generator import Generator
from hpc_sr.models.options import ModelOptions
from hpc_sr.sentinel2.bands import BANDS
from hpc_sr.sentinel2.metadata import Grid
from hpc_sr.tasks import S2X, S6X, Task
from hpc_sr.weights.card import Card

LAW = Radiometry(-1000.0, 10_000.0, 0)


class ArrayImage:
    """Bands of seeded noise on nested grids; strips of `strip_rows`. `dn` may be changed before it is read."""

    name, level, satellite, sensing_time, dn_type = "noise", "L1C", "S2A", "2023-06-15T10:10:31.024Z", "uint16"
    bands = tuple(name for name in BANDS if name != "B10")
    sources = ()

    def __init__(self, height: int, width: int, seed: int = 0, strip_rows: int = 7):
        rng = np.random.default_rng(seed)
        self.strip_rows = strip_rows
        self.grids = {
            gsd: Grid(gsd, height * 10 // gsd, width * 10 // gsd, 399_960.0, 5_000_040.0, "EPSG:32632")
            for gsd in (10, 20, 60)
        }
        sizes = {name: self.grids[BANDS[name].gsd_m] for name in self.bands}
        self.dn = {n: rng.integers(1, 20_000, (g.height, g.width)).astype(np.uint16) for n, g in sizes.items()}
        self.provenance, self.identity = {"product": "noise"}, {"seed": seed, "height": height, "width": width}

    def radiometry(self, name: str) -> Radiometry:
        return LAW

    def open(self, name: str) -> _Band:
        return _Band(self.dn[name], self.strip_rows)


class _Band:
    def __init__(self, dn: np.ndarray, strip_rows: int):
        self._dn, self.strip_rows = dn, strip_rows

    def read(self, area: Area) -> np.ndarray:
        assert area.within(*self._dn.shape) == area
        return self._dn[area.slices].copy()

    def close(self) -> None:
        pass


class Repeating(Generator):
    """Repeats the coarse bands: what comes out is known to the bit, if every window looks at its own place.

    Each output pixel also loses 0 x the sum of its halo, so that what is read there must be numbers.
    """

    def __init__(self, task: Task, multiple_px: int, halo_px: int):
        super().__init__(task, width=16, window_px=multiple_px)
        self.before_px = self.halo_px = -(-halo_px // self.multiple_px) * self.multiple_px

    def forward(self, *inputs_BCHW: torch.Tensor) -> torch.Tensor:
        coarse = inputs_BCHW[self._coarse]
        assert all(torch.isfinite(x).all() for x in inputs_BCHW)
        return coarse.repeat_interleave(self.task.scale, -1).repeat_interleave(self.task.scale, -2)


def repeating(task: Task, multiple_px: int = 1, halo_px: int = 0) -> Model:
    return _model(Repeating(task, multiple_px, halo_px), task, "dsen2")


def network(family: str, task: Task, patch_px: int, seed: int = 0) -> Model:
    """A narrow network of random weights, with attention that matters."""
    torch.manual_seed(seed)
    generator = build_generator(ModelOptions(family=family, width=16, blocks=1), task, patch_px)
    if family == "s2x":
        torch.nn.init.constant_(generator.attention.gamma, 0.7)
    return _model(generator, task, family)


def _model(generator: Generator, task: Task, family: str) -> Model:
    card = Card(task.name, 32, {"family": family}, "wald", "L1C", 1, 0, 0)
    return Model(Predictor.of(generator, torch.device("cpu"), "fp32"), card, f"{family} for {task.name}")


def both_repeating(multiple_px: int = 1, halo_px: int = 0) -> list[Model]:
    return [repeating(S2X, multiple_px, halo_px), repeating(S6X, multiple_px, halo_px)]
