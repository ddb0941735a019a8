"""Images made of arrays and networks whose output is known, for the tests beside this."""

from __future__ import annotations

import numpy as np
import rasterio
import torch
from made_networks import as_trained, narrow, trained

from hpc_sr.infer.images import Radiometry
from hpc_sr.infer.predict import Predictor
from hpc_sr.infer.windows import Area
from hpc_sr.models.facts import Facts
from hpc_sr.models.generator import Generator, Outputs
from hpc_sr.models.reach import Reach
from hpc_sr.sentinel2.bands import BANDS
from hpc_sr.sentinel2.metadata import Grid
from hpc_sr.tasks import S2X, S6X, Task
from hpc_sr.weights.trained import Trained

LAW = Radiometry(-1000.0, 10_000.0, 0)
#: GDAL before 3.10 has no names for red edge and short-wave infrared, and keeps no wavelengths.
KINDS_ARE_KNOWN = tuple(map(int, rasterio.__gdal_version__.split(".")[:2])) >= (3, 10)


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

    All that it is shown must be numbers, in its halo, too.
    """

    def __init__(self, task: Task, multiple_px: int, halo_px: int):
        super().__init__(task, Facts(patch_px=32), width=16)
        self.reach = Reach(halo_px, 0, multiple_px)

    def forward(self, *inputs_BCHW: torch.Tensor) -> Outputs:
        assert all(torch.isfinite(x).all() for x in inputs_BCHW)
        layers = dict(zip((layer.name for layer in self.task.inputs), inputs_BCHW, strict=True))
        fine = ((layers[target.coarse.name], target.scale) for target in self.task.targets)
        return Outputs(tuple(x.repeat_interleave(scale, -1).repeat_interleave(scale, -2) for x, scale in fine))


def repeating(task: Task, multiple_px: int = 1, halo_px: int = 0) -> Predictor:
    generator = Repeating(task, multiple_px, halo_px)
    return on_cpu(as_trained(generator, narrow("dsen2"), where=f"repeating for {task.name}"))


def network(family: str, task: Task, patch_px: int, seed: int = 0) -> Predictor:
    """A narrow network of random weights, with attention that matters."""
    return on_cpu(trained(task, patch_px, narrow(family), seed=seed, where=f"{family} for {task.name}"))


def on_cpu(made: Trained) -> Predictor:
    return Predictor.of(made, torch.device("cpu"), "fp32")


def both_repeating(multiple_px: int = 1, halo_px: int = 0) -> list[Predictor]:
    return [repeating(S2X, multiple_px, halo_px), repeating(S6X, multiple_px, halo_px)]
