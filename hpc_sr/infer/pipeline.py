"""Decoding, predicting and writing at the same time.

    decoding threads    strips of the bands, ahead (strips.py)
    assembling threads  a window's layers: cut out, nodata filled, mirrored beyond the border
    this thread         the network
    writing thread      from the device, DN, into the mosaic

Memory of the host beside the decoded strips and the network's own: `_AHEAD` windows' layers and `_BEHIND` windows'
bands, some 10 MB each.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch

from hpc_sr.errors import NotFiniteError
from hpc_sr.infer.images import read_stored
from hpc_sr.infer.plan import Plan
from hpc_sr.infer.sharpener import Sharpener, filled_px
from hpc_sr.infer.strips import Strips
from hpc_sr.infer.windows import Area
from hpc_sr.logs import track
from hpc_sr.sentinel2.bands import band
from hpc_sr.sentinel2.metadata import Grid
from hpc_sr.tasks import Layer

#: Windows that are assembled before the network asks for them, threads that do it, and windows yet to be written.
_AHEAD, _ASSEMBLERS, _BEHIND = 3, 2, 2


@dataclass
class Seconds:
    """Where time went: `decode`, `assemble` and `write` in threads of their own, `predict` in the network, `wait` for
    layers or for writing, `total` on the clock."""

    decode: float = 0.0
    assemble: float = 0.0
    predict: float = 0.0
    wait: float = 0.0
    write: float = 0.0
    total: float = 0.0

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


#: Takes a look at a model's layers around a window.
Look = Callable[[Sharpener, dict[str, np.ndarray]], None]
#: A model's bands of an area and, if asked for, their spread.
Estimate = tuple[torch.Tensor, torch.Tensor | None]


class Writer(Protocol):
    """Takes windows; `writing_s` adds up what that took."""

    writing_s: float

    def write(self, number: int, values_CHW: np.ndarray, area: Area) -> None:
        """Take all bands of window `number`, which is an area of the plan's."""


class Sink(Protocol):
    """Where windows go: a Mosaic on disk, or an array."""

    def writer(self, rank: int) -> AbstractContextManager[Writer]: ...


@dataclass(frozen=True)
class _Part:
    """What one model is given: layers around the area that it predicts; each target's measured bands if they matter.

    `measured` are those that the target's back-projection needs.
    """

    area: Area
    layers: dict[str, np.ndarray]
    measured: list[np.ndarray]


@dataclass(frozen=True)
class _Assembled:
    """A window before the networks see it: a part per model, None where all that it would predict is nodata."""

    core: Area
    parts: list[_Part | None]
    dn: dict[str, np.ndarray]
    missing: dict[str, np.ndarray]


def run_windows(plan: Plan, numbers: Sequence[int], mosaic: Sink, rank: int, shown: bool, look: Look) -> Seconds:
    """Predict the plan's windows of these numbers and write them into the mosaic. Returns where time went.

    `look` is shown each model's layers of windows that were measured everywhere, in threads.
    Raises NotFiniteError if the network gives no numbers; errors of the image and of the mosaic.
    """
    seconds = Seconds()
    if not numbers:
        return seconds
    began = time.perf_counter()
    cores = len(os.sched_getaffinity(0))
    with (
        mosaic.writer(rank) as writer,
        Strips(plan.image, plan.limits(), cores) as strips,
        ThreadPoolExecutor(_ASSEMBLERS, "assemble") as assemblers,
        ThreadPoolExecutor(1, "write") as hand,
    ):
        waiting = iter(numbers)
        ahead: deque[tuple[int, Future[_Assembled]]] = deque()
        behind: deque[Future[None]] = deque()

        def assemble_one_more() -> None:
            for number in waiting:
                ahead.append((number, assemblers.submit(_assemble, plan, plan.windows[number], strips, seconds, look)))
                return

        try:
            for _ in range(_AHEAD):
                assemble_one_more()
            for number in track(numbers, "windows", shown=shown):
                now = time.perf_counter()
                assert ahead[0][0] == number
                window = ahead.popleft()[1].result()
                assemble_one_more()
                while len(behind) >= _BEHIND:
                    behind.popleft().result()
                predicting = time.perf_counter()
                estimates = [
                    None if part is None else _estimate(plan, model, part)
                    for model, part in zip(plan.models, window.parts, strict=True)
                ]
                seconds.wait += predicting - now
                seconds.predict += time.perf_counter() - predicting
                behind.append(hand.submit(_write, plan, number, window, estimates, writer))
                strips.forget_above(window.core.row - plan.margin_px)
            while behind:
                behind.popleft().result()
        finally:
            for executor in (assemblers, hand):
                executor.shutdown(cancel_futures=True)
        seconds.decode = strips.decoding_s
    seconds.write, seconds.total = writer.writing_s, time.perf_counter() - began
    return seconds


def _assemble(plan: Plan, core: Area, strips: Strips, seconds: Seconds, look: Look) -> _Assembled:
    began = time.perf_counter()
    grid = plan.image.grids[10]
    for name in plan.read_bands:
        stride = band(name).gsd_m // 10
        around = core.grown(plan.reading_px).aligned(stride).divided(stride)
        own = plan.image.grids[band(name).gsd_m]
        strips.ask(name, around.within(own.height, own.width))
    dn = {b.source: strips.dn(b.source, core) for b in plan.bands if b.kind == "native"}
    missing = {name: plan.image.radiometry(name).missing(values) for name, values in dn.items()}
    parts: list[_Part | None] = []
    for model in plan.models:
        task = model.task

        def read(layer: Layer, inside: Area, model: Sharpener = model) -> np.ndarray:
            reach_px = filled_px(model, layer)
            planes = (read_stored(plan.image, name, partial(strips.dn, name), inside, reach_px) for name in layer.bands)
            return np.stack(list(planes))

        for name in task.bands:
            missing[name] = _missing_target(plan, name, strips, core)
        if all(missing[name].all() for name in task.bands):
            parts.append(None)
            continue
        area, measured = core, []
        for target, projection in zip(task.targets, plan.projections(model) or (), strict=False):
            around = projection.around(*_coarse(core, target.scale, grid))
            area = area.joined(around.times(target.scale))
            measured.append(read(target.coarse, around))
        layers = model.layers(read, area, grid.height, grid.width)
        if not any(missing[name].any() for name in task.bands):
            look(model, layers)
        parts.append(_Part(area, layers, measured))
    seconds.assemble += time.perf_counter() - began
    return _Assembled(core, parts, dn, missing)


def _missing_target(plan: Plan, name: str, strips: Strips, core: Area) -> np.ndarray:
    """Return where, on the 10 m grid, a coarse band has no measurement."""
    gsd_m = band(name).gsd_m
    stride, grid = gsd_m // 10, plan.image.grids[gsd_m]
    around = core.aligned(stride)
    coarse = around.divided(stride)
    inside = coarse.within(grid.height, grid.width)
    mask = plan.image.radiometry(name).missing(strips.dn(name, inside))
    beyond = (0, coarse.height - inside.height), (0, coarse.width - inside.width)
    mask = np.pad(mask, beyond, mode="edge")  # a coarse grid that was rounded down ends before the fine one
    return np.repeat(np.repeat(mask, stride, 0), stride, 1)[core.relative_to(around).slices]


def _estimate(plan: Plan, model: Sharpener, part: _Part) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return a model's bands of a window and, where asked for, their spread, on the device."""
    if plan.options.ensemble:
        return model.forward_ensemble(part.layers, part.area)
    return model.forward(part.layers, part.area), None


def _write(plan: Plan, number: int, window: _Assembled, estimates: list[Estimate | None], writer: Writer) -> None:
    """Bring a window's bands from the device into the mosaic."""
    kept = window.core.common(plan.area)
    inside = kept.relative_to(window.core).slices
    stored: dict[tuple[str, str], np.ndarray] = {}
    for model, part, estimate in zip(plan.models, window.parts, estimates, strict=True):
        if part is not None and estimate is not None:
            stored |= _stored(plan, model, window.core, part, estimate)
    planes = []
    for output in plan.bands:
        encoding, missing = plan.encodings[output.source], window.missing[output.source][inside]
        if output.kind == "native":
            planes.append(encoding.native(window.dn[output.source][inside], missing))
            continue
        values = stored.get((output.kind, output.source))
        seen = np.zeros(missing.shape, np.float32) if values is None else values[inside]
        planes.append((encoding.spread if output.kind == "spread" else encoding.sharpened)(seen, missing))
    writer.write(number, np.stack(planes), kept.relative_to(plan.area))


def _stored(
    plan: Plan, model: Sharpener, core: Area, part: _Part, estimate: Estimate
) -> dict[tuple[str, str], np.ndarray]:
    """Return the core's planes by (kind, band), in stored units on the host, consistent if that was asked for."""
    grid, found = plan.image.grids[10], dict[tuple[str, str], np.ndarray]()
    targets, projections = model.task.targets, plan.projections(model)
    for kind, bands in zip(("sharpened", "spread"), estimate, strict=True):
        if bands is None:
            continue
        planes = bands.cpu().numpy()
        if not np.isfinite(planes).all():
            raise NotFiniteError(
                f"{model.where} gives values that are no numbers at row {core.row}, column {core.column}",
                where=plan.image.name,
                cure=model.cure,
            )
        first = 0
        for number, target in enumerate(targets):
            own, first = planes[first : first + len(target.bands)], first + len(target.bands)
            if kind == "sharpened" and projections is not None:
                projection, (coarse, height, width) = projections[number], _coarse(core, target.scale, grid)
                around = projection.around(coarse, height, width).times(target.scale)
                own = own[(slice(None), *around.relative_to(part.area).slices)]
                own = projection.correct(own, part.measured[number], coarse, height, width)
                own = own[(slice(None), *core.relative_to(coarse.times(target.scale)).slices)]
            else:
                own = own[(slice(None), *core.relative_to(part.area).slices)]
            found |= {(kind, name): plane for name, plane in zip(target.bands, own, strict=True)}
    return found


def _coarse(core: Area, scale: int, grid: Grid) -> tuple[Area, int, int]:
    """Return the coarse pixels that cover a core, and the height and width of the image in them."""
    return core.aligned(scale).divided(scale), grid.height // scale, grid.width // scale
