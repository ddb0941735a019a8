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
from hpc_sr.infer.predict import Predictor, reach_px, read_area
from hpc_sr.infer.region import area_of
from hpc_sr.infer.windows import Area, tile_cores
from hpc_sr.logs import logger
from hpc_sr.models.generator import Generator
from hpc_sr.sentinel2.bands import BANDS, band
from hpc_sr.sentinel2.degrade import kernel
from hpc_sr.weights.card import check_level

#: Pixels of a window's core on each side, before it is rounded down to what the networks ask for. Of the pixels that
#: are read 69 % are kept at x2, 39 % at x6 with its attention windows of 96 px; of larger ones 82 % and 59 %, which a
#: GPU has the memory for.
_CORE_PX = {"cpu": 480, "cuda": 960}
#: What the activations of a window may take on the host: with all else less than 2 GiB.
_ACTIVATIONS_BYTES = 550e6

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
    models: tuple[Predictor, ...]
    bands: tuple[OutputBand, ...]
    area: Area
    windows: tuple[Area, ...]
    options: InferOptions

    @cached_property
    def reading_px(self) -> int:
        """How far beyond a window, in 10 m pixels, the networks look: halo, alignment, back-projection."""
        return max(_reading_px(m.generator, self.projections(m)) for m in self.models)

    @cached_property
    def margin_px(self) -> int:
        """How far beyond a window anything is read for it: what the networks see, and what fills nodata there."""
        generators = [model.generator for model in self.models]
        filling = max(reach_px(g, layer) * layer.stride for g in generators for layer in g.task.inputs)
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
            seen |= {name for layer in model.generator.task.inputs for name in layer.bands}
        return tuple(name for name in BANDS if name in seen)

    @cached_property
    def encodings(self) -> dict[str, Encoding]:
        """How each source band is stored."""
        names = {output.source for output in self.bands}
        return {
            name: encoding_of(self.image.radiometry(name), self.image.dn_type, self.options.dtype) for name in names
        }

    def projections(self, model: Predictor) -> list[BackProjection] | None:
        """Return what makes each target of a model agree with its measured bands, None if that was not asked for."""
        if not self.options.back_project:
            return None
        laws = (
            kernel(model.card.degradation, target.scale, target.bands, self.image.satellite)
            for target in model.generator.task.targets
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
            "models": [
                {
                    **m.card.as_json(),
                    "weights_sha256": m.trained.digest,
                    "precision": m.precision,
                    "device": m.device.type,
                }
                for m in self.models
            ],
            "options": options,
            "core_px": self.windows[0].height,
            "area": list(asdict(self.area).values()),
            "bands": [band.name for band in self.bands],
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the key."""
        return hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()


def make_plan(models: list[Predictor], image: Image, options: InferOptions) -> Plan:
    """Return what is to be made. Raises what `_check_models` raises, and RegionError, before a pixel is read.

    The order in which models are given does not matter.
    """
    models = sorted(models, key=lambda model: model.generator.task.name)
    _check_models(models, image, options)
    grid = image.grids[10]
    area = area_of(options.region, grid)
    windows = tuple(
        core
        for core in cores_of(models, grid.height, grid.width, options.window_px)
        if min(core.common(area).height, core.common(area).width) > 0
    )
    return Plan(image, tuple(models), _output_bands(models, image, options), area, windows, options)


def cores_of(predictors: Sequence[Predictor], height: int, width: int, window_px: int | None = None) -> list[Area]:
    """Return the cores of the windows in which an image is predicted, row by row; `window_px` as in InferOptions.

    Edges lie as far beyond multiples of what the generators ask for as they look after their attention: so only one
    of two neighbours needs a further row of attention windows.
    """
    multiple = math.lcm(*(predictor.generator.multiple_px for predictor in predictors))
    device = predictors[0].device.type
    core_px = max(1, (window_px or _CORE_PX[device]) // multiple) * multiple
    if device == "cpu" and window_px is None:
        while core_px > multiple and max(_activations_bytes(p, core_px) for p in predictors) > _ACTIVATIONS_BYTES:
            core_px -= multiple
    return tile_cores(height, width, core_px, max(_after_px(predictor.generator) for predictor in predictors))


def _activations_bytes(predictor: Predictor, core_px: int) -> float:
    """Return what a network's activations take while it predicts a window of this core."""
    generator = predictor.generator
    corner_px = core_px + _after_px(generator)
    around = read_area(generator, Area(corner_px, corner_px, core_px, core_px))
    return float(generator.bytes_per_px(predictor.precision) * around.height * around.width)


def _check_models(models: list[Predictor], image: Image, options: InferOptions) -> None:
    """Raise LevelError, UnknownBandError, RecipeError or ShapeError where models and image do not fit together."""
    owner: dict[str, Predictor] = {}
    for model in models:
        task = model.generator.task
        if task.of_images:
            raise RecipeError(
                f"is a model of images ({task.name}), not of Sentinel-2 bands",
                where=model.trained.where,
                cure="give a model of task s2x, s6x or s26x",
            )
        if model.generator.reach is None:
            logger.warning(
                "%s looks at the whole image: windows of it differ from what it would make of all", model.trained.where
            )
        if options.any_level and image.level and image.level != model.card.level:
            logger.warning(
                "%s is %s, %s was trained on %s", image.name, image.level, model.trained.where, model.card.level
            )
        elif image.level:
            check_level(model.card, image.level, image.name)
        absent = [name for layer in task.inputs for name in layer.bands if name not in image.bands]
        if absent:
            raise UnknownBandError(
                f"has no {', '.join(absent)}, which {model.trained.where} needs",
                where=image.name,
                cure=f"it has {', '.join(image.bands)}: use a model that needs no more",
            )
        for name in task.bands:
            if name in owner:
                raise RecipeError(
                    f"sharpens {name}, as {owner[name].trained.where} does",
                    where=model.trained.where,
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


def _output_bands(models: list[Predictor], image: Image, options: InferOptions) -> tuple[OutputBand, ...]:
    """Return the bands in Sentinel-2's order, then their spreads; without coarse bands that no model sharpens."""
    sharpened = {name: i for i, m in enumerate(models) for name in m.generator.task.bands}
    found = []
    for name in BANDS:
        if name in sharpened:
            found.append(OutputBand(name, name, "sharpened", sharpened[name]))
        elif options.bands == "all" and name in image.bands and band(name).gsd_m == 10:
            found.append(OutputBand(name, name, "native"))
    spreads = [OutputBand(f"{b.name}_spread", b.name, "spread", b.model) for b in found if b.kind == "sharpened"]
    return (*found, *(spreads if options.spread else ()))


def _reading_px(generator: Generator, projections: list[BackProjection] | None) -> int:
    projecting = max(projection.margin_px + projection.law.scale for projection in projections) if projections else 0
    return generator.halo_px + generator.multiple_px + projecting


def _after_px(generator: Generator) -> int:
    return generator.reach.after_px if generator.reach is not None else 0
