"""Methods without training as sharpeners: what `hpc-sr infer` has for an image for which there is no network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from hpc_sr.classical.methods import FIT_PX, FITTED, Baseline, Layers, check_baselines, fit_baseline
from hpc_sr.errors import RecipeError, UnknownBandError
from hpc_sr.infer.images import Image, read_stored
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.sharpener import ReadLayer
from hpc_sr.infer.windows import Area, middle_of, read_mirrored, tile_cores
from hpc_sr.tasks import S2X, S6X, Layer, Task

#: The law that methods take coarse bands to follow if nothing else is said.
DEGRADATION = "mtf"
#: The method for an image that there are no weights for.
UNTRAINED = "guided"
#: Pixels of a window's core on each side, if memory allows: methods look far, and the larger a core the less is read
#: twice.
_CORE_PX = 720
#: The least share of the middle of an image that must be measured to fit a method there.
_MEASURED = 0.5


def methods_for(image: Image, name: str, degradation: str = DEGRADATION) -> list[Method]:
    """Return a method of BASELINES for the 20 m bands of an image and one for its 60 m bands, as far as it has them.

    Raises RecipeError for an unknown method, UnknownBandError if there is no 10 m band, or nothing to sharpen.
    """
    tasks = [task for task in (_task_of(S2X, image, name), _task_of(S6X, image, name)) if task is not None]
    check_baselines((name,), S2X)
    if not tasks:
        raise UnknownBandError(
            f"has no 10 m band with a coarser one beside it: {', '.join(image.bands)}",
            where=image.name,
            cure="give 10 m bands, and 20 m or 60 m bands of the same ground",
        )
    return [Method(name, task, degradation, image) for task in tasks]


@dataclass(frozen=True)
class Method:
    """A method without training on one image: a Sharpener of a task of one target, on the CPU.

    The same as in evaluations; guided works in float32. Beyond the image there is nothing: at its border a method's
    own rule holds. If the finest grid does not end on whole coarse pixels it is mirrored up to there.
    """

    name: str
    task: Task
    degradation: str
    image: Image

    step = facts = None
    after_px = 0
    cure = "give another --method, and report this"
    core_px = _CORE_PX

    @property
    def where(self) -> str:
        return self.name

    @property
    def family(self) -> str:
        return self.name

    @property
    def identity(self) -> dict[str, Any]:
        return {"method": self.name, "task": self.task.name, "degradation": self.degradation}

    @property
    def told(self) -> str:
        return f"{self.name} (no training) degradation {self.degradation}"

    @property
    def multiple_px(self) -> int:
        return self.task.alignment_px

    @property
    def halo_px(self) -> int:
        return -(-self._baseline.reach_px // self.multiple_px) * self.multiple_px

    def window_bytes(self, core: Area) -> float:
        """Return what a window of this core takes of the memory while it is sharpened."""
        around = core.aligned(self.multiple_px).grown(self.halo_px)
        return float(self._baseline.bytes_per_px * around.height * around.width)

    def check(self, name: str, level: str, options: InferOptions) -> None:
        """Raise RecipeError if the self-ensemble is asked for. Methods are for every level."""
        if options.ensemble or options.spread:
            raise RecipeError(
                f"is for trained networks: {self.name} makes the same of an image that is turned or mirrored",
                where="--self-ensemble" if options.ensemble else "--spread",
                cure="leave it out, or give a run",
            )

    def layers(self, read: ReadLayer, area: Area, height: int, width: int) -> dict[str, np.ndarray]:
        """Return the float32 (C, h, w) input layers around an area, as far as the image goes."""
        around = self._around(area)
        return {
            layer.name: np.ascontiguousarray(
                read_mirrored(
                    partial(read, layer), around.divided(layer.stride), height // layer.stride, width // layer.stride
                ),
                np.float32,
            )
            for layer in self.task.inputs
        }

    def forward(self, layers: dict[str, np.ndarray], area: Area) -> torch.Tensor:
        """Return the target's bands (C, h, w) of an area, float32 in stored units, given its `layers`."""
        with torch.inference_mode():
            estimate = self._baseline.sharpen({name: torch.from_numpy(values) for name, values in layers.items()})
        return estimate[(slice(None), *area.relative_to(self._around(area)).slices)]

    def forward_ensemble(self, layers: dict[str, np.ndarray], area: Area) -> tuple[torch.Tensor, torch.Tensor]:
        raise AssertionError("check refuses it")

    @cached_property
    def _baseline(self) -> Baseline:
        satellite = self.image.satellite
        return fit_baseline(self.name, self.task, self.degradation, satellite, self._sample(), exact=False)

    @property
    def _size(self) -> tuple[int, int]:
        """The image's height and width on its finest grid, up to whole coarse pixels."""
        grid, unit = self.image.grids[10], self.multiple_px
        return -(-grid.height // unit) * unit, -(-grid.width // unit) * unit

    def _around(self, area: Area) -> Area:
        return area.aligned(self.multiple_px).grown(self.halo_px).within(*self._size)

    def _sample(self) -> Layers:
        """Return the layers that the method is fitted to; none if it is not fitted."""
        if self.name not in FITTED:
            return {}
        place = self._place()
        return {
            layer.name: torch.from_numpy(np.stack([self._read(name, layer, place) for name in layer.bands]))
            for layer in self.task.inputs
        }

    def _place(self) -> Area:
        """Return where to fit: the middle, if that was measured, or else the square of which most was."""
        grid, coarse, unit = self.image.grids[10], self.task.target.coarse, self.multiple_px
        radiometry, opened = self.image.radiometry(coarse.bands[0]), self.image.open(coarse.bands[0])

        def measured(square: Area) -> float:
            missing = radiometry.missing(opened.read(square.divided(coarse.stride)))
            return missing.size - float(missing.sum())

        try:
            middle = middle_of(grid.height, grid.width, FIT_PX, unit)
            if measured(middle) >= _MEASURED * middle.height * middle.width / coarse.stride**2:
                return middle
            inside = grid.height // unit * unit, grid.width // unit * unit
            return max(tile_cores(*inside, FIT_PX), key=measured)
        finally:
            opened.close()

    def _read(self, name: str, layer: Layer, place: Area) -> np.ndarray:
        opened, reach_px = self.image.open(name), FIT_PX // layer.stride
        try:
            return read_stored(self.image, name, opened.read, place.divided(layer.stride), reach_px)
        finally:
            opened.close()


def _task_of(task: Task, image: Image, method: str) -> Task | None:
    """Return a task for the bands that an image has, None if they allow none: layers that a method does not look at,
    and bands that are not there, are left out."""
    target = task.target
    seen = task.inputs if method == "supreme" else (task.inputs[0], target.coarse)
    inputs = [layer for layer in (_there(each, image) for each in seen) if layer.bands]
    coarse = _there(target.coarse, image)
    if not (_there(task.inputs[0], image).bands and coarse.bands):
        return None
    return Task(task.name, tuple(inputs), (replace(target, bands=coarse.bands, coarse=coarse),))


def _there(layer: Layer, image: Image) -> Layer:
    return replace(layer, bands=tuple(name for name in layer.bands if name in image.bands))
