"""Tasks: where data and models agree on inputs, target, scale, grid and units.

A task names the layers that go in and the layer that comes out. All layers of a patch cover the same ground; a
layer's `stride` is how many target pixels one of its pixels spans. In training everything is seen at `scale` times
the native GSD (Wald's protocol), in use at the native GSD: the shapes are the same.

Units: patches hold reflectance x 10 000 (int16, after the product's radiometric offset). Networks see that divided by
NETWORK_UNIT, the convention of the published networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hpc_sr.errors import RecipeError

#: Network units per reflectance x 10 000 (Lanaras et al. 2018).
NETWORK_UNIT = 2000.0
#: Reflectance 1.0 in stored units.
REFLECTANCE_ONE = 10_000

BANDS_10M = ("B02", "B03", "B04", "B08")
BANDS_20M = ("B05", "B06", "B07", "B8A", "B11", "B12")
BANDS_60M = ("B01", "B09")


@dataclass(frozen=True)
class Layer:
    """Bands that share a grid: what they are called in a batch, their native GSD in metres, and their stride."""

    name: str
    bands: tuple[str, ...]
    gsd_m: int
    stride: int


@dataclass(frozen=True)
class Task:
    """One super-resolution problem: the target bands, measured `scale` times coarser, brought to the guides' grid."""

    name: str
    scale: int
    inputs: tuple[Layer, ...]
    target: Layer

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers of a patch: the inputs in the order of the network's arguments, then the target."""
        return (*self.inputs, self.target)

    @property
    def alignment_px(self) -> int:
        """Patch and window sizes on the target grid are multiples of this."""
        return math.lcm(*(layer.stride for layer in self.layers))

    @property
    def coarse(self) -> Layer:
        """The input that holds the target's bands as they were measured."""
        return next(layer for layer in self.inputs if layer.bands == self.target.bands)

    def shape(self, layer: Layer, patch_px: int) -> tuple[int, int, int]:
        """Return (C, H, W) of a layer in a patch of `patch_px` target pixels a side."""
        return len(layer.bands), patch_px // layer.stride, patch_px // layer.stride


_X10 = Layer("x10", BANDS_10M, gsd_m=10, stride=1)
_X20 = Layer("x20", BANDS_20M, gsd_m=20, stride=2)
_X60 = Layer("x60", BANDS_60M, gsd_m=60, stride=6)

S2X = Task("s2x", 2, (_X10, _X20), Layer("target", BANDS_20M, gsd_m=20, stride=1))
S6X = Task("s6x", 6, (_X10, _X20, _X60), Layer("target", BANDS_60M, gsd_m=60, stride=1))

RGB, RGBN = ("R", "G", "B"), ("R", "G", "B", "N")


def _image_task(name: str, scale: int, bands: tuple[str, ...], reference: bool = False) -> Task:
    """Images have no ground sampling distance: their layers' gsd_m is 0."""
    guides = (Layer("ref", bands, gsd_m=0, stride=1),) if reference else ()
    return Task(name, scale, (Layer("lr", bands, gsd_m=0, stride=scale), *guides), Layer("target", bands, 0, 1))


#: Single images x2, x3, x4 in three or four bands, and x4 with a high-resolution reference.
IMAGE_TASKS = (
    *(_image_task(f"sisr_x{scale}", scale, RGB) for scale in (2, 3, 4)),
    *(_image_task(f"sisr_x{scale}_rgbn", scale, RGBN) for scale in (2, 3, 4)),
    _image_task("refsr_x4", 4, RGB, reference=True),
)

TASKS = {task.name: task for task in (S2X, S6X, *IMAGE_TASKS)}


def task_by_name(name: str) -> Task:
    """Return the task called `name`. Raises RecipeError for any other name."""
    if name not in TASKS:
        raise RecipeError(f"unknown task {name!r}", where="task", cure=f"choose one of {', '.join(TASKS)}")
    return TASKS[name]
