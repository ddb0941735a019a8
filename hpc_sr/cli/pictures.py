"""From runs and pictures to the table of networks for single pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from data_prep.image_files import by_name, find_images, read_image
from data_prep.image_pairs import image_pair, trimmed
from data_prep.resample import LAWS
from hpc_sr.bench.flops import multiply_adds_per_px
from hpc_sr.cli.scores import ReferenceKind, Request, held_out
from hpc_sr.comm.communicator import Comm
from hpc_sr.data.dataset import Patches
from hpc_sr.disk import telling, write_atomically
from hpc_sr.errors import DegradationError, ImageError, ManifestError, RecipeError
from hpc_sr.evaluate.metrics.perceptual import Perceptual
from hpc_sr.evaluate.protocols.ma_scores import check_ma_scores, perceptual_index, read_ma_scores
from hpc_sr.evaluate.protocols.single_images import (
    PicturePair,
    Scored,
    Scores,
    computed_on,
    hardest_part,
    mean_scores,
    score_by_bicubic,
    score_by_network,
)
from hpc_sr.extras import need
from hpc_sr.infer.pictures.upscale import check_model
from hpc_sr.infer.predict import Predictor
from hpc_sr.infer.runs import load_models
from hpc_sr.logs import track
from hpc_sr.report.files import can_draw, write_tables
from hpc_sr.report.pictures import Part, PictureRow, picture_grid
from hpc_sr.report.rendering import as_console
from hpc_sr.shards.reader import Store
from hpc_sr.tasks import RGB, Task, Units, task_by_name

#: Pictures that a network sees before it is timed.
_WARM_UP = 1
#: Pictures of which a part is shown, and its side in low-resolution pixels.
_SHOWN, _PART_PX = 4, 32


def tabulate_pictures(
    runs: Sequence[Path], images: tuple[Path, ...], out: Path, request: Request, comm: Comm
) -> list[dict[str, Any]]:
    """Score runs of image tasks on pictures, or on a store's patches; print a table for each scale.

    OUT gets sisr.md and so on, and for each task a picture of the parts where bicubic errs most, by every method.

    Return the tables as plain values. Ranks share the pictures. Collective.
    Raises RecipeError where runs, or pictures and store, are not given; ImageError for pictures that a network was
    not trained for, or that Ma's scores lack; DegradationError where nobody knows how their low resolution is made.
    """
    need("jinja2", "report", "a page of tables")
    if not runs:
        raise RecipeError("there is no run to stand in the table", where="--table", cure="give run directories")
    if len({_name(run) for run in runs}) < len(runs):
        raise RecipeError("two runs have the same name", where="--table", cure="rename the folder of one")
    if bool(images) == (request.store is not None):
        raise RecipeError("there must be pictures or a store", where="--table", cure="give --image or --store")
    models = load_models(list(runs), request.precision, comm)
    for run, model in zip(runs, models, strict=True):
        check_model(model)
        if not model.task.has_stores:
            problem = f"is of task {model.task.name}, which makes nothing finer"
            raise RecipeError(problem, where=run, cure="leave it out: `hpc-sr evaluate RUN --store STORE` scores it")
    perceptual = request.perceptual(comm)
    tables, grids, parts = [], [], {}
    for task in dict.fromkeys(sorted((model.task for model in models), key=lambda task: task.scale)):
        mine = {_name(run): model for run, model in zip(runs, models, strict=True) if model.task == task}
        rows, protocol, shown = _scored(task, mine, images, request, perceptual, comm)
        grids.append(picture_grid(task.scale, rows, protocol))
        parts[task.name] = shown
        tables.append(
            {"task": task.name, "protocol": protocol, "rows": [{"name": r.name, **r.scores, **r.costs} for r in rows]}
        )
    if comm.rank == 0:
        console = Console(emoji=False)
        for grid in grids:
            console.print(as_console(grid, console.width))
        for path in write_tables(grids, "Networks for single pictures", out, "sisr"):
            console.print(str(path), soft_wrap=True, markup=False)
        for path in _draw(parts, out):
            console.print(str(path), soft_wrap=True, markup=False)
        if request.json_file is not None:
            write_atomically(request.json_file, json.dumps(tables, indent=1) + "\n")
    return tables


def _scored(
    task: Task,
    models: dict[str, Predictor],
    images: tuple[Path, ...],
    request: Request,
    perceptual: Perceptual | None,
    comm: Comm,
) -> tuple[list[PictureRow], tuple[str, ...], list[Part]]:
    """Return the rows of a task's table, bicubic first, what was compared with what, and parts to look at. Collective.

    The parts are of the first pictures of each rank.
    """
    first = next(iter(models.values()))
    if any(model.degradation != first.degradation for model in models.values()):
        raise DegradationError(
            f"runs of {task.name} were trained on different degradations",
            where="--table",
            cure="give those of one degradation",
        )
    names, pairs = _pairs(task, first.degradation, images, request, comm)
    ma = read_ma_scores(request.ma) if request.ma is not None else {}
    if request.ma is not None:
        check_ma_scores(ma, models, names, request.ma)
    found: dict[str, list[Scores]] = {name: [] for name in ("bicubic", *models)}
    seconds, pixels, shown = dict.fromkeys(found, 0.0), 0, []
    for number, pair in enumerate(track(pairs, "pictures", total=len(names), shown=comm.rank == 0)):
        _check_units(models, pair)
        pixels += pair.target[0].size
        made = {"bicubic": score_by_bicubic(pair, task, perceptual)}
        for name, model in models.items():
            if number < _WARM_UP:
                score_by_network(model, pair)
            made[name] = score_by_network(model, pair, perceptual)
            seconds[name] += made[name].seconds
        for name, scored in made.items():
            index = {"pi": perceptual_index(ma.get((name, pair.name)), scored.scores["niqe"])} if ma else {}
            found[name].append(scored.scores | index)
        if number < _SHOWN:
            shown.append(_part(pair, task, made))
    *spent, counted = comm.sum(np.array([*seconds.values(), pixels])).tolist()
    rows = []
    for (name, mine), took_s in zip(found.items(), spent, strict=True):
        mean = mean_scores(scores for part in comm.gather(mine) for scores in part)
        costs = _costs(models[name], took_s, counted) if name in models else {}
        rows.append(PictureRow(name, models[name].family if name in models else name, mean, costs))
    return rows, _protocol(len(names), task, first, request), shown


def _part(pair: PicturePair, task: Task, made: dict[str, Scored]) -> Part:
    """Return the hardest part of a picture, as it was given, as each method makes it, and as it is."""
    area, scale = hardest_part(pair, task.scale, _PART_PX), task.scale
    inside = (slice(None), *area.times(scale).slices)
    given = pair.coarse[(slice(None), *area.slices)].repeat(scale, 1).repeat(scale, 2)
    images = {"given": given, **{name: one.estimate.numpy()[inside] for name, one in made.items()}}
    channels = [task.bands.index(band) for band in RGB]
    shown = {name: image[channels].transpose(1, 2, 0) / pair.peak for name, image in images.items()}
    scores = {name: f"{one.scores['psnr']:.2f} dB" for name, one in made.items() if one.scores["psnr"] is not None}
    return Part(pair.name, {**shown, "reference": pair.target[inside][channels].transpose(1, 2, 0) / pair.peak}, scores)


def _draw(parts: dict[str, list[Part]], out: Path) -> list[Path]:
    """Write the parts of each task as a picture, with matplotlib, and return the files. Raises OutputError."""
    if not can_draw():
        return []
    from hpc_sr.report.figures.side_by_side import draw_side_by_side

    files = []
    for name, shown in parts.items():
        if shown:
            files.append(out / f"{name}.png")
            title = "Where bicubic errs most; PSNR is of the whole picture"
            with telling(files[-1]):
                write_atomically(files[-1], draw_side_by_side(shown, title))
    return files


def _costs(model: Predictor, seconds: float, pixels: float) -> dict[str, float | None]:
    """Return thousands of parameters, thousand million multiply-adds a megapixel, and milliseconds a megapixel."""
    work, time_ms = multiply_adds_per_px(model.generator) / 1e3, seconds * 1e3 / (pixels / 1e6)
    return {"parameters": model.card.parameters / 1e3, "multiply_adds": work, "milliseconds": time_ms}


def _pairs(
    task: Task, degradation: str, images: tuple[Path, ...], request: Request, comm: Comm
) -> tuple[list[str], Iterator[PicturePair]]:
    """Return the names of all pictures, and this rank's."""
    if request.store is not None:
        return _of_store(task, Store(request.store), request.reference, comm)
    if len(task.inputs) > 1:
        raise RecipeError(
            f"have no references, which task {task.name} needs", where="--image", cure="give a store with --store"
        )
    if degradation not in LAWS:
        raise DegradationError(
            f"the networks were trained with {degradation!r}, by which no low resolution can be made here",
            where="--image",
            cure="give their store with --store",
        )
    named = by_name(find_images(tuple(map(str, images)), "--image"), without_role=False)
    chosen = list(named.items())[comm.rank :: comm.world_size]
    return list(named), (_read(name, path, task, degradation) for name, path in chosen)


def _read(name: str, path: Path, task: Task, degradation: str) -> PicturePair:
    image = read_image(path, len(task.bands))
    target = trimmed(image.pixels, task.scale, path)
    if image.nodata.any():
        raise ImageError("has transparent pixels or nodata", where=path, cure="give pictures without")
    peak = Units.of(f"{image.bits} bit").peak
    bounds = (0, int(min(peak, np.iinfo(np.int16).max)))
    layers = image_pair(target, {}, task, degradation, bounds, {}).layers
    return PicturePair(name, layers["lr"], target, peak)


def _of_store(task: Task, store: Store, kind: ReferenceKind, comm: Comm) -> tuple[list[str], Iterator[PicturePair]]:
    """Return the numbers of all patches, and this rank's; a store with references is one without them too."""
    manifest = store.manifest
    inside = {layer: shape["shape"] for layer, shape in manifest.layers.items()}
    wanted = {layer.name: list(task.shape(layer, manifest.patch_px)) for layer in task.layers}
    if not task_by_name(manifest.task).of_images or any(inside.get(name) != shape for name, shape in wanted.items()):
        raise ManifestError(f"is of task {manifest.task}, not {task.name}", where=store.path, cure="give its own store")
    patches = Patches.of(store.split(held_out(store)), task, manifest.patch_px)
    count, peak = len(patches), Units.of(manifest.units).peak
    if kind == "other" and count < 2:
        raise RecipeError("needs two patches or more", where="--reference", cure="give a larger store")

    def reference(index: int) -> np.ndarray | None:
        if len(task.inputs) < 2:
            return None
        # Half a split away lies another product, if there are several.
        chosen = (index + count // 2) % count if kind == "other" else index
        own = patches.take(np.array([chosen]))["ref"][0]
        return np.zeros_like(own) if kind == "zeros" else own

    def pairs() -> Iterator[PicturePair]:
        for index in range(comm.rank, count, comm.world_size):
            layers = patches.take(np.array([index]))
            yield PicturePair(str(index), layers["lr"][0], layers["target"][0], peak, reference(index))

    return [str(index) for index in range(count)], pairs()


def _check_units(models: dict[str, Predictor], pair: PicturePair) -> None:
    for name, model in models.items():
        if model.generator.units.peak != pair.peak:
            raise ImageError(
                f"has {pair.peak:g} as white, {name} was trained on {model.generator.units.peak:g}",
                where=pair.name,
                cure="convert it, or leave that run out",
            )


def _protocol(count: int, task: Task, model: Predictor, request: Request) -> tuple[str, ...]:
    what = "patches of the store's held-out split" if request.store is not None else "pictures"
    given = {"own": "of the same ground", "zeros": "zeros", "other": "those of other patches"}[request.reference]
    return (
        f"Means over {count} {what}; low resolution by {model.degradation}, in whole levels; each picture in one "
        f"piece; estimates rounded to whole levels, {task.scale} px cropped on each side.",
        *((f"References: {given}.",) if len(task.inputs) > 1 else ()),
        "RGB: all bands together; Y: brightness by ITU-R BT.601, 16..235. GSM: of mean gradients, all bands.",
        f"Multiply-adds and time are for a megapixel of the result; time on {computed_on(model)}.",
    )


def _name(run: Path) -> str:
    return run.resolve().name
