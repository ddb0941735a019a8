"""What is to be made of an image: which bands by which model, in which windows.

A plan has a key. Two plans with the same key give the same file.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Literal

from hpc_sr import __version__
from hpc_sr.errors import RecipeError, ShapeError, UnknownBandError
from hpc_sr.infer.backproject import BackProjection
from hpc_sr.infer.encode import Encoding, encoding_of
from hpc_sr.infer.images import Image
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.region import area_of
from hpc_sr.infer.sharpener import Sharpener, filled_px
from hpc_sr.infer.windows import Area, tile_cores
from hpc_sr.sentinel2.bands import BANDS, band
from hpc_sr.sentinel2.degrade import kernel

#: What the work on a window may take on the host: with all else less than 2 GiB.
_WINDOW_BYTES = 550e6

#: Options that do not decide the pixels; of the window's size the key holds what became of it.
_NOT_PIXELS = ("overwrite", "any_level", "check", "window_px", "overview")

#: Changes when the same plan would give other pixels: an image begun before is then not gone on with.
_SCHEMA = 1


@dataclass(frozen=True)
class OutputBand:
    """A band of the result: `source` band of the image, and what becomes of it; `model` counts the plan's models."""

    name: str
    source: str
    kind: Literal["native", "sharpened", "spread"]
    model: int | None = None


@dataclass(frozen=True)
class Plan:
    """One image to be made: `area` in 10 m pixels of the source, `windows` on the whole image's own grid.

    A region is made of the same windows as the whole image, cut: so it is the same to the bit.
    """

    image: Image
    models: tuple[Sharpener, ...]
    bands: tuple[OutputBand, ...]
    area: Area
    windows: tuple[Area, ...]
    options: InferOptions

    @cached_property
    def reading_px(self) -> int:
        """How far beyond a window, in 10 m pixels, the sharpeners look: halo, alignment, back-projection."""
        return max(_reading_px(model, self.projections(model)) for model in self.models)

    @cached_property
    def margin_px(self) -> int:
        """How far beyond a window anything is read for it: what the sharpeners see, and what fills nodata there."""
        filling = max(filled_px(m, layer) * layer.stride for m in self.models for layer in m.task.inputs)
        return self.reading_px + filling

    def limits(self) -> Area:
        """Return all that any window reads, in 10 m pixels on 60 m edges."""
        top, left = min(w.row for w in self.windows), min(w.column for w in self.windows)
        bottom, right = max(w.row + w.height for w in self.windows), max(w.column + w.width for w in self.windows)
        grid = self.image.grids[10]
        return (
            Area(top, left, bottom - top, right - left).grown(self.margin_px).aligned(6).within(grid.height, grid.width)
        )

    @cached_property
    def read_bands(self) -> tuple[str, ...]:
        """All bands of the image that anything looks at."""
        seen = {b.source for b in self.bands}
        for model in self.models:
            seen |= {name for layer in model.task.inputs for name in layer.bands}
        return tuple(name for name in BANDS if name in seen)

    @cached_property
    def encodings(self) -> dict[str, Encoding]:
        """How each source band is stored."""
        names = {output.source for output in self.bands}
        return {
            name: encoding_of(self.image.radiometry(name), self.image.dn_type, self.options.dtype) for name in names
        }

    def projections(self, model: Sharpener) -> list[BackProjection] | None:
        """Return what makes each target of a model agree with its measured bands, None if that was not asked for."""
        if not self.options.back_project:
            return None
        laws = (
            kernel(model.degradation, target.scale, target.bands, self.image.satellite) for target in model.task.targets
        )
        return [BackProjection.of(law) for law in laws]

    @cached_property
    def key(self) -> dict[str, object]:
        """What decides the pixels, as JSON: two plans of one key give one file."""
        options = {k: v for k, v in asdict(self.options).items() if k not in _NOT_PIXELS}
        return {
            "schema": _SCHEMA,
            "software": __version__,
            "source": self.image.identity,
            "models": [model.identity for model in self.models],
            "options": options,
            "core_px": self.windows[0].height,
            "area": list(asdict(self.area).values()),
            "bands": [band.name for band in self.bands],
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the key."""
        return hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()


def make_plan(models: Sequence[Sharpener], image: Image, options: InferOptions) -> Plan:
    """Return what is to be made. Raises what `_check_models` raises, and RegionError, before a pixel is read.

    The order in which models are given does not matter.
    """
    models = sorted(models, key=lambda model: model.task.name)
    _check_models(models, image, options)
    sharpened_by = {b.model for b in _output_bands(models, image, options)}
    models = [model for i, model in enumerate(models) if i in sharpened_by] or models
    bands = _output_bands(models, image, options)
    grid = image.grids[10]
    area = area_of(options.region, grid)
    windows = tuple(
        core
        for core in cores_of(models, grid.height, grid.width, options.window_px)
        if min(core.common(area).height, core.common(area).width) > 0
    )
    return Plan(image, tuple(models), bands, area, windows, options)


def cores_of(sharpeners: Sequence[Sharpener], height: int, width: int, window_px: int | None = None) -> list[Area]:
    """Return the cores of the windows in which an image is predicted, row by row; `window_px` as in InferOptions.

    Edges lie as far beyond multiples of what the networks ask for as they look after their attention: so only one
    of two neighbours needs a further row of attention windows.
    """
    multiple = math.lcm(*(sharpener.multiple_px for sharpener in sharpeners))
    core_px = max(1, (window_px or min(s.core_px for s in sharpeners)) // multiple) * multiple
    if window_px is None:
        while core_px > multiple and max(_window_bytes(s, core_px) for s in sharpeners) > _WINDOW_BYTES:
            core_px -= multiple
    return tile_cores(height, width, core_px, max(sharpener.after_px for sharpener in sharpeners))


def _window_bytes(sharpener: Sharpener, core_px: int) -> float:
    """Return what a window of this core in the middle of an image takes."""
    corner_px = core_px + sharpener.after_px
    return sharpener.window_bytes(Area(corner_px, corner_px, core_px, core_px))


def _check_models(models: list[Sharpener], image: Image, options: InferOptions) -> None:
    """Raise LevelError, UnknownBandError, RecipeError or ShapeError where models and image do not fit together."""
    owner: dict[str, Sharpener] = {}
    for model in models:
        task = model.task
        model.check(image.name, image.level, options)
        absent = [name for layer in task.inputs for name in layer.bands if name not in image.bands]
        if absent:
            raise UnknownBandError(
                f"has no {', '.join(absent)}, which {model.where} needs",
                where=image.name,
                cure=f"it has {', '.join(image.bands)}: use a model that needs no more",
            )
        for name in task.bands:
            if name in owner:
                raise RecipeError(
                    f"sharpens {name}, as {owner[name].where} does",
                    where=model.where,
                    cure="give one model for each band, for example one of s2x and one of s6x",
                )
            owner[name] = model
        fine = image.grids[10]
        for layer in task.inputs:
            grid = image.grids[layer.gsd_m]
            if grid.height < fine.height // layer.stride or grid.width < fine.width // layer.stride:
                raise ShapeError(
                    f"{grid.height} x {grid.width} px at {layer.gsd_m} m do not cover {fine.height} x "
                    f"{fine.width} px at 10 m",
                    where=image.name,
                    cure="give bands that cover the same ground",
                )
    if options.spread and not options.ensemble:
        raise RecipeError("needs the self-ensemble", where="--spread", cure="give --self-ensemble too")


def _output_bands(models: list[Sharpener], image: Image, options: InferOptions) -> tuple[OutputBand, ...]:
    """Return the bands in Sentinel-2's order, then their spreads; without coarse bands that no model sharpens.

    Raises UnknownBandError for a band that is asked for by name and not among them.
    """
    sharpened = {name: i for i, m in enumerate(models) for name in m.task.bands}
    found = []
    for name in BANDS:
        if name in sharpened:
            found.append(OutputBand(name, name, "sharpened", sharpened[name]))
        elif options.bands != "sharpened" and name in image.bands and band(name).gsd_m == 10:
            found.append(OutputBand(name, name, "native"))
    if isinstance(options.bands, tuple):
        absent = [name for name in options.bands if name not in {b.name for b in found}]
        if absent or not options.bands:
            raise UnknownBandError(
                f"no band {absent[0]!r} comes out of it" if absent else "no band is asked for",
                where=image.name,
                cure=f"choose of {', '.join(b.name for b in found)}",
            )
        found = [b for b in found if b.name in options.bands]
    spreads = [OutputBand(f"{b.name}_spread", b.name, "spread", b.model) for b in found if b.kind == "sharpened"]
    return (*found, *(spreads if options.spread else ()))


def _reading_px(model: Sharpener, projections: list[BackProjection] | None) -> int:
    projecting = max(projection.margin_px + projection.law.scale for projection in projections) if projections else 0
    return model.halo_px + model.multiple_px + projecting
