"""Tasks: where data and models agree on inputs, targets, scale, grid and units.

A task names the layers that go in and the layers that come out, its targets. All layers of a patch cover the same
ground. A layer's `stride` is how many target pixels one of its pixels spans. In training everything is seen `scale`
times coarser than it was measured (Wald's protocol), in use as it was measured: the shapes are the same.

Units: a store holds whole numbers, reflectance x 10 000 after the radiometric offset, or the grey levels of images.
Networks see them divided by a number (`Units`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from hpc_sr.errors import RecipeError

#: A float array or tensor.
T = TypeVar("T", bound=Any)

#: Reflectance x 10 000 that is 1 to a network: the convention of the published networks (Lanaras et al. 2018).
NETWORK_UNIT = 2000.0
#: Reflectance 1.0 in stored units.
REFLECTANCE_ONE = 10_000
REFLECTANCE = f"reflectance x {REFLECTANCE_ONE}"
_UNITS = {REFLECTANCE: NETWORK_UNIT, "8 bit": 255.0, "16 bit": 65535.0}

BANDS_10M = ("B02", "B03", "B04", "B08")
BANDS_20M = ("B05", "B06", "B07", "B8A", "B11", "B12")
BANDS_60M = ("B01", "B09")


@dataclass(frozen=True)
class Units:
    """What a store's numbers are, and which of them is 1 to a network."""

    stored: str
    unit: float

    @classmethod
    def of(cls, stored: str) -> Units:
        """Return the units of a store's numbers: reflectance, or grey levels, whose whole range is 0 to 1.

        Raises RecipeError for units that no store has.
        """
        if stored not in _UNITS:
            known = ", ".join(_UNITS)
            raise RecipeError(f"unknown units {stored!r}", where="units", cure=f"known are {known}")
        return cls(stored, _UNITS[stored])

    @property
    def peak(self) -> float:
        """The stored number of full brightness; that of reflectance 1 where a card does not tell its units.

        Raises RecipeError for units that no store has.
        """
        grey = self.stored not in (REFLECTANCE, "")
        return Units.of(self.stored).unit if grey else REFLECTANCE_ONE

    def to_network(self, stored: T) -> T:
        """Return stored numbers (float arrays or tensors) as network values."""
        return stored * (1.0 / self.unit)

    def to_stored(self, values: T) -> T:
        """Return network values as stored numbers, not rounded."""
        return values * self.unit


@dataclass(frozen=True)
class Layer:
    """Bands that share a grid: what they are called in a batch, their native GSD in metres, and their stride."""

    name: str
    bands: tuple[str, ...]
    gsd_m: int
    stride: int


@dataclass(frozen=True)
class Target(Layer):
    """A layer that comes out: its bands were measured as the input `coarse`, `scale` times coarser.

    `stride` is 1: all targets of a task lie on one grid, the finest of its inputs'.
    """

    coarse: Layer
    scale: int


@dataclass(frozen=True)
class Task:
    """One super-resolution problem: the layers that go in and those that come out on the finest grid.

    In training the inputs are seen `scale` times coarser than they were measured, the greatest of the targets'
    scales. A target of that scale is then compared with what was measured, one of a smaller scale with what was
    measured degraded by the rest (`training_scale`). A task that only prepares for another one (`for_use`) has finer
    guides, degraded by less.
    """

    name: str
    inputs: tuple[Layer, ...]
    targets: tuple[Target, ...]

    @property
    def scale(self) -> int:
        """How many times coarser than measured the inputs are in training."""
        return max(target.scale for target in self.targets)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers of a patch: the inputs in the order of the network's arguments, then the targets."""
        return (*self.inputs, *self.targets)

    @property
    def target(self) -> Target:
        """The target of a task that has one. Raises RecipeError for a task of several."""
        if len(self.targets) != 1:
            names = ", ".join(target.name for target in self.targets)
            raise RecipeError(
                f"has {len(self.targets)} targets ({names}), where one is asked for",
                where=f"task {self.name}",
                cure="take one of them (`Task.only`), or a network of one target: s2x, s6x",
            )
        return self.targets[0]

    def only(self, target: Target) -> Task:
        """Return the task with this target alone, whose scale is then the task's."""
        return Task(self.name, self.inputs, (target,))

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands of all targets, in order."""
        return tuple(band for target in self.targets for band in target.bands)

    @property
    def alignment_px(self) -> int:
        """Patch and window sizes on the target grid are multiples of this."""
        return math.lcm(*(layer.stride for layer in self.layers))

    @property
    def grid_gsd_m(self) -> int:
        """The GSD of the targets' grid in training, in metres; 0 for pictures."""
        return max(target.gsd_m for target in self.targets)

    @property
    def of_images(self) -> bool:
        """Whether the layers are pictures, which have no ground sampling distance."""
        return all(layer.gsd_m == 0 for layer in self.inputs)

    @property
    def for_use(self) -> bool:
        """Whether the layers lie on each other as they were measured, so that a network can be applied to them."""
        return all(layer.gsd_m == layer.stride * self.inputs[0].gsd_m for layer in self.inputs) or self.of_images

    @property
    def has_stores(self) -> bool:
        """Whether stores are made for it. A task of scale 1 has nothing to degrade: it takes another's store."""
        return self.scale > 1

    def takes(self, stored: str) -> bool:
        """Return whether a store of a task by name serves: of this task, or, without its own, one with its layers."""
        if self.has_stores or stored not in TASKS:
            return stored == self.name
        held = {(layer.name, layer.bands, layer.stride) for layer in TASKS[stored].layers}
        return {(layer.name, layer.bands, layer.stride) for layer in self.layers} <= held

    def training_scale(self, layer: Layer) -> int:
        """Return how many times coarser than measured a layer is in training; 1: it is what was measured."""
        if self.of_images:
            return 1 if isinstance(layer, Target) else self.scale
        return self.grid_gsd_m * layer.stride // layer.gsd_m

    def shape(self, layer: Layer, patch_px: int) -> tuple[int, int, int]:
        """Return (C, H, W) of a layer in a patch of `patch_px` target pixels a side."""
        return len(layer.bands), patch_px // layer.stride, patch_px // layer.stride


_X10 = Layer("x10", BANDS_10M, gsd_m=10, stride=1)
_X20 = Layer("x20", BANDS_20M, gsd_m=20, stride=2)
_X60 = Layer("x60", BANDS_60M, gsd_m=60, stride=6)
#: The 20 m bands where their guides are six times finer.
_X20_IN_6 = replace(_X20, stride=6)

S2X = Task("s2x", (_X10, _X20), (Target("target", BANDS_20M, gsd_m=20, stride=1, coarse=_X20, scale=2),))
S6X = Task("s6x", (_X10, _X20, _X60), (Target("target", BANDS_60M, gsd_m=60, stride=1, coarse=_X60, scale=6),))
#: All coarse bands in one pass. In training both targets lie on the 60 m grid: see `Task`.
S26X = Task(
    "s26x",
    (_X10, _X20, _X60),
    (
        Target("target20", BANDS_20M, gsd_m=20, stride=1, coarse=_X20, scale=2),
        Target("target60", BANDS_60M, gsd_m=60, stride=1, coarse=_X60, scale=6),
    ),
)

#: What networks of one band at a time learn before s6x: how a band six times coarser than its guides is sharpened,
#: from the 20 m bands, of which there is a truth on a finer grid than 60 m, and more of it.
PRE6X = Task("pre6x", (_X10, _X20_IN_6), (Target("target", BANDS_20M, gsd_m=20, stride=1, coarse=_X20_IN_6, scale=6),))

RGB, RGBN = ("R", "G", "B"), ("R", "G", "B", "N")

#: Bands that make a picture as red, green and blue: true colours, then infrared ones for what has no visible bands.
COMPOSITES = (("B04", "B03", "B02"), RGB, ("B08", "B04", "B03"), ("B11", "B8A", "B05"))


def shown_bands(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return which bands are shown as red, green and blue; one, as grey, where no three make a picture."""
    return next((bands for bands in COMPOSITES if set(bands) <= set(names)), names[:1])


def _image_task(name: str, scale: int, bands: tuple[str, ...], reference: bool = False) -> Task:
    """Images have no ground sampling distance: their layers' gsd_m is 0."""
    guides = (Layer("ref", bands, gsd_m=0, stride=1),) if reference else ()
    lr = Layer("lr", bands, gsd_m=0, stride=scale)
    return Task(name, (lr, *guides), (Target("target", bands, gsd_m=0, stride=1, coarse=lr, scale=scale),))


#: Single images x2, x3, x4 in three or four bands, and x4 with a high-resolution reference in as many.
IMAGE_TASKS = (
    *(_image_task(f"sisr_x{scale}", scale, RGB) for scale in (2, 3, 4)),
    *(_image_task(f"sisr_x{scale}_rgbn", scale, RGBN) for scale in (2, 3, 4)),
    _image_task("refsr_x4", 4, RGB, reference=True),
    _image_task("refsr_x4_rgbn", 4, RGBN, reference=True),
)

#: A picture to itself: of the pictures that any store of red, green and blue has as its target.
_PICTURE = Layer("target", RGB, gsd_m=0, stride=1)
AUTOENCODE = Task("autoencode", (_PICTURE,), (Target("target", RGB, gsd_m=0, stride=1, coarse=_PICTURE, scale=1),))

TASKS = {task.name: task for task in (S2X, S6X, S26X, PRE6X, *IMAGE_TASKS, AUTOENCODE)}


def task_by_name(name: str) -> Task:
    """Return the task called `name`. Raises RecipeError for any other name."""
    if name not in TASKS:
        raise RecipeError(f"unknown task {name!r}", where="task", cure=f"choose one of {', '.join(TASKS)}")
    return TASKS[name]
