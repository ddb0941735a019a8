"""What brings coarse bands to 10 m: a trained network (predict.py) or a method without training (method.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch

from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.windows import Area
from hpc_sr.models.facts import Facts
from hpc_sr.tasks import Layer, Task

#: Returns the (C, H, W) values of a layer, in stored units, for an area on the layer's own grid inside the image.
ReadLayer = Callable[[Layer, Area], np.ndarray]


class Sharpener(Protocol):
    """Estimates the bands of a task's targets in any area of an image, the same for every tiling.

    `where` is what messages call it, `family` what tables do. `degradation` is the law that it takes the coarse bands
    to follow. `step` is how long it was trained, if it was. `identity` (JSON) decides its pixels, `told` is that for
    people. `cure` is what to do if it gives no numbers. `facts` are those of its training set, None if it has none.

    Windows are multiples of `multiple_px`, usually `core_px` a side; their edges lie `after_px` beyond multiples.
    `halo_px` around a window is read for it.
    """

    @property
    def where(self) -> str: ...

    @property
    def family(self) -> str: ...

    @property
    def task(self) -> Task: ...

    @property
    def degradation(self) -> str: ...

    @property
    def step(self) -> int | None: ...

    @property
    def identity(self) -> dict[str, Any]: ...

    @property
    def told(self) -> str: ...

    @property
    def cure(self) -> str: ...

    @property
    def facts(self) -> Facts | None: ...

    @property
    def multiple_px(self) -> int: ...

    @property
    def core_px(self) -> int: ...

    @property
    def after_px(self) -> int: ...

    @property
    def halo_px(self) -> int: ...

    def window_bytes(self, core: Area) -> float:
        """Return what is taken of the host's memory while a window is estimated; 0 where that does not matter."""

    def check(self, name: str, level: str, options: InferOptions) -> None:
        """Raise LevelError or RecipeError if it is not for an image of this level ("": unknown), or not so."""

    def layers(self, read: ReadLayer, area: Area, height: int, width: int) -> dict[str, np.ndarray]:
        """Return the float32 (C, h, w) input layers that an area of an image of this size is estimated from."""

    def forward(self, layers: dict[str, np.ndarray], area: Area) -> torch.Tensor:
        """Return the bands of all targets (C, h, w) of an area, float32 in stored units, given its `layers`."""

    def forward_ensemble(self, layers: dict[str, np.ndarray], area: Area) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean and the standard deviation of the estimates under the eight symmetries of a square."""


def filled_px(sharpener: Sharpener, layer: Layer) -> int:
    """Return how far from a measured pixel, on the layer's grid, a missing one still matters."""
    return -(-sharpener.halo_px // layer.stride) + 1
