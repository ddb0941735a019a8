"""A generator applied to a part of an image that is larger than memory or patch.

The prediction of a pixel is the same for every tiling. What is read around an area covers all that the network looks
at, and its edges lie on those of the network's attention windows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from hpc_sr.errors import RecipeError
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.sharpener import ReadLayer
from hpc_sr.infer.windows import Area, read_mirrored
from hpc_sr.logs import logger
from hpc_sr.models.facts import Facts
from hpc_sr.models.generator import Generator
from hpc_sr.models.precision import autocast
from hpc_sr.tasks import Layer, Task
from hpc_sr.weights.card import Card, check_for_use, check_level
from hpc_sr.weights.trained import Trained

#: Pixels of a window's core on each side, before it is rounded down to what the networks ask for. Of the pixels that
#: are read 69 % are kept at x2, 39 % at x6 with its attention windows of 96 px; of larger ones 82 % and 59 %, which a
#: GPU has the memory for.
_CORE_PX = {"cpu": 480, "cuda": 960}

#: The eight symmetries of a square: (quarter turns, whether mirrored first).
_SYMMETRIES = [(turns, mirrored) for mirrored in (False, True) for turns in range(4)]


@dataclass(frozen=True)
class Predictor:
    """A trained generator with a device and a precision: a Sharpener. Prepare it with `Predictor.of`."""

    cure = "give --precision fp32; if that does not help, train the model again"

    trained: Trained
    device: torch.device
    precision: str

    @classmethod
    def of(cls, trained: Trained, device: torch.device, precision: str) -> Predictor:
        """Return a predictor with the generator in evaluation mode on the device."""
        trained.generator.to(device).eval()
        return cls(trained, device, precision)

    @property
    def generator(self) -> Generator:
        return self.trained.generator

    @property
    def card(self) -> Card:
        return self.trained.card

    @property
    def where(self) -> str:
        return self.trained.where

    @property
    def family(self) -> str:
        return self.card.family

    @property
    def task(self) -> Task:
        return self.generator.task

    @property
    def degradation(self) -> str:
        return self.card.degradation

    @property
    def step(self) -> int:
        return self.card.step

    @property
    def identity(self) -> dict[str, Any]:
        looks_do_not_decide = replace(self.card, facts=replace(self.card.facts, looks=None))
        return {
            **looks_do_not_decide.as_json(),
            "weights_sha256": self.trained.digest,
            "precision": self.precision,
            "device": self.device.type,
        }

    @property
    def told(self) -> str:
        return (
            f"{self.family} step {self.step} degradation {self.degradation} level {self.card.level} "
            f"sha256 {self.trained.digest[:16]}"
        )

    @property
    def facts(self) -> Facts:
        return self.card.facts

    @property
    def multiple_px(self) -> int:
        return self.generator.multiple_px

    @property
    def core_px(self) -> int:
        return _CORE_PX[self.device.type]

    @property
    def after_px(self) -> int:
        return self.generator.reach.after_px if self.generator.reach is not None else 0

    @property
    def halo_px(self) -> int:
        return self.generator.halo_px

    def window_bytes(self, core: Area) -> float:
        """Return what the network's activations take on the host while it predicts a window of this core."""
        if self.device.type != "cpu":
            return 0.0
        around = read_area(self.generator, core)
        return float(self.generator.bytes_per_px(self.precision) * around.height * around.width)

    def check(self, name: str, level: str, options: InferOptions) -> None:
        """Raise RecipeError for a model of pictures, LevelError for one of another level unless any will do."""
        if self.task.of_images:
            raise RecipeError(
                f"is a model of images ({self.task.name}), not of Sentinel-2 bands",
                where=self.where,
                cure="give a model of task s2x, s6x or s26x",
            )
        check_for_use(self.card, self.where)
        if self.generator.reach is None:
            logger.warning(
                "%s looks at the whole image: windows of it differ from what it would make of all", self.where
            )
        if options.any_level and level and level != self.card.level:
            logger.warning("%s is %s, %s was trained on %s", name, level, self.where, self.card.level)
        elif level:
            check_level(self.card, level, name)

    def layers(self, read: ReadLayer, area: Area, height: int, width: int) -> dict[str, np.ndarray]:
        """Return the float32 (C, h, w) input layers around an area, mirrored beyond the image."""
        return read_layers(self.generator, read, area, height, width)

    def predict(self, read: ReadLayer, area: Area, height: int, width: int) -> torch.Tensor:
        """Return the bands of all targets (C, h, w) of an area of an image of `height` x `width` target pixels.

        Float32 in stored units, on the device. `read` must return finite values: nodata is filled by the caller.
        """
        return self.forward(read_layers(self.generator, read, area, height, width), area)

    def forward(self, layers: dict[str, np.ndarray], area: Area) -> torch.Tensor:
        """Return `predict`'s bands of an area, given what `read_layers` returned for it."""
        estimate = self.estimate([torch.from_numpy(values) for values in layers.values()])
        return estimate[(slice(None), *self._kept(area))]

    def forward_ensemble(self, layers: dict[str, np.ndarray], area: Area) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean and the standard deviation of the predictions under the eight symmetries of a square.

        Each sees the layers turned and mirrored, and its prediction is turned back. The areas that are read are made
        of whole attention windows, so turning them moves no window's border.
        """
        mean = squares = None
        for index, (turns, mirrored) in enumerate(_SYMMETRIES, start=1):
            seen = [_turned(torch.from_numpy(values), turns, mirrored) for values in layers.values()]
            estimate = _turned_back(self.estimate(seen), turns, mirrored)
            if mean is None or squares is None:
                mean, squares = estimate.clone(), torch.zeros_like(estimate)
            else:  # Welford's update: no difference of large squares
                before = estimate - mean
                mean += before / index
                squares += before * (estimate - mean)
        assert mean is not None and squares is not None
        kept = (slice(None), *self._kept(area))
        return mean[kept], (squares[kept] / len(_SYMMETRIES)).clamp_(min=0).sqrt_()

    def estimate(self, layers_CHW: list[torch.Tensor]) -> torch.Tensor:
        """Return the bands of all targets (C, H, W) of the task's layers, float32 in stored units, on the device."""
        inputs = [values[None].to(self.device, non_blocking=True) for values in layers_CHW]
        with torch.inference_mode(), autocast(self.device, self.precision):
            return torch.cat(self.generator.estimate(*inputs), dim=1)[0]

    def _kept(self, area: Area) -> tuple[slice, slice]:
        return area.relative_to(read_area(self.generator, area)).slices


def read_area(generator: Generator, area: Area) -> Area:
    """Return what must be read to predict an area: whole windows of attention, and what their features look at.

    Of a network that looks at everything a patch's side around the area is read.
    """
    multiple_px, reach = generator.multiple_px, generator.reach
    if reach is None:
        return area.grown(generator.halo_px).aligned(multiple_px)
    return area.grown(reach.after_px).aligned(multiple_px).grown(reach.before_px).aligned(multiple_px)


def reach_px(generator: Generator, layer: Layer) -> int:
    """Return how far from a measured pixel, on the layer's grid, a missing one still matters to the network there."""
    return -(-generator.halo_px // layer.stride) + 1


def read_layers(generator: Generator, read: ReadLayer, area: Area, height: int, width: int) -> dict[str, np.ndarray]:
    """Return the float32 (C, h, w) input layers around an area, mirrored beyond the image."""
    around = read_area(generator, area)
    layers = {}
    for layer in generator.task.inputs:
        values = read_mirrored(
            partial(read, layer), around.divided(layer.stride), height // layer.stride, width // layer.stride
        )
        layers[layer.name] = np.ascontiguousarray(values, np.float32)
    return layers


def _turned(values: torch.Tensor, turns: int, mirrored: bool) -> torch.Tensor:
    values = values.flip(-1) if mirrored else values
    return values.rot90(turns, (-2, -1)).contiguous()


def _turned_back(values: torch.Tensor, turns: int, mirrored: bool) -> torch.Tensor:
    values = values.rot90(-turns, (-2, -1))
    return values.flip(-1) if mirrored else values
