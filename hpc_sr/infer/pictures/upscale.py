"""One picture, one generator, one finer picture, by clip-and-merge and by all ranks together.

The tiles go into the same scratch mosaic as those of products: a run that was killed goes on, ranks of many nodes
share one result, and no more of it is in memory than a tile. Host memory beside the interpreter and the network:
the rows of the source that a row of tiles looks at, `(tile_px + margins) x width x bands x 4` bytes, and GDAL's block
cache of 0.25 GB.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import rasterio

from hpc_sr import __version__
from hpc_sr.comm.communicator import Comm
from hpc_sr.errors import NotFiniteError, OutputError, RecipeError
from hpc_sr.infer.fill import fill_missing
from hpc_sr.infer.finishing import check_apart, check_room, final_path, is_finished
from hpc_sr.infer.mosaic import Mosaic
from hpc_sr.infer.pictures.clip_merge import OVERLAP_PX, TILE_PX, Tile, clip_and_merge, exact_overlap_px, upscale_tile
from hpc_sr.infer.pictures.files import Target, driver_of
from hpc_sr.infer.pictures.reading import REFLECTANCE_UNITS, Picture, RowCache
from hpc_sr.infer.pictures.reference import on_grid_of
from hpc_sr.infer.predict import Predictor, reach_px
from hpc_sr.infer.windows import Area, stretch_of
from hpc_sr.logs import logger, track
from hpc_sr.models.generator import Generator
from hpc_sr.tasks import Layer

#: Changes when the same request would give other pixels: a result begun before is then not gone on with.
_SCHEMA = 1
#: Rows of JPEG2000 tiles of four bands: strips of a product are decoded once.
_DECODER_CACHE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class UpscaleOptions:
    """`tile_px` and `overlap_px` in low-resolution pixels; `format` of GeoTIFFs; `overwrite` what is there."""

    tile_px: int = TILE_PX
    overlap_px: int = OVERLAP_PX
    format: str = "cog"
    overwrite: bool = False


def upscale(
    model: Predictor, picture: Picture, out: Path, options: UpscaleOptions, comm: Comm, reference: Picture | None = None
) -> Path:
    """Write a picture `scale` times finer as the GeoTIFF or PNG `out` and return its path. Collective.

    A network of a task refsr_* needs a `reference`: with a georeference, or `scale` times as large as the picture.
    Missing pixels stay missing, each as scale x scale of them; the network sees them filled from their neighbours.
    Killed at any moment, the same command goes on; done already, it does nothing.
    Raises RecipeError for a model of other tasks, ShapeError, OutputError, NotFiniteError, errors of reading.
    """
    check_model(model)
    check_reference(model, reference is not None)
    check_apart(out, [picture.source, *([reference.source] if reference else [])])
    generator = model.generator
    scale = generator.task.scale
    if reference is not None:
        grey = generator.units.stored != REFLECTANCE_UNITS
        reference = on_grid_of(picture, reference, scale, generator.units.peak if grey else None)
    driver = driver_of(out, picture, "COG" if options.format == "cog" else "GTiff")
    key = _key(model, picture, options, driver, reference)
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    out = final_path(out)
    target = Target(out, picture, scale, driver, _tags(model), digest)
    mosaic = Mosaic(out, target.shape, picture.dtype)
    if comm.broadcast(is_finished(mosaic, out, digest, options.overwrite) if comm.rank == 0 else None):
        return out
    with mosaic.alone(comm.rank == 0), rasterio.Env(GDAL_CACHEMAX=_DECODER_CACHE_BYTES):
        done = comm.broadcast(_begin(target, mosaic, key, options.overwrite) if comm.rank == 0 else None)
        tiles = clip_and_merge(picture.height, picture.width, scale, options.tile_px, options.overlap_px)
        if comm.rank == 0 and len(tiles) > 1:
            _warn_of_seams(generator, options.overlap_px)
        waiting = [number for number in range(len(tiles)) if number not in done]
        mine = stretch_of(waiting, comm.rank, comm.world_size)
        _upscale_tiles(model, picture, reference, mosaic, tiles, mine, comm.rank)
        comm.barrier()
        if comm.rank == 0:
            _finish(target, mosaic, len(tiles))
    comm.barrier()
    return out


def _warn_of_seams(generator: Generator, overlap_px: int) -> None:
    exact_px = exact_overlap_px(generator)
    if generator.reach is None:
        logger.warning("the network looks at the whole picture: of tiles it makes something else, most at their edges")
    elif overlap_px < exact_px:
        logger.warning(
            "tiles overlap by %d px, the network looks further: from %d on there would be no trace of them",
            overlap_px,
            exact_px,
        )


def check_model(model: Predictor) -> None:
    """Raise RecipeError unless a model makes pictures finer."""
    task = model.generator.task
    if not task.of_images:
        raise RecipeError(
            f"is of task {task.name}, for products' bands of several grids",
            where=model.trained.where,
            cure="give the product without --image, or a run of a task sisr_* or refsr_*",
        )


def check_reference(model: Predictor, given: bool) -> None:
    """Raise RecipeError unless there is a reference for a model that needs one, and none for one that does not."""
    task = model.generator.task
    if (len(task.inputs) > 1) == given:
        return
    told = "takes no reference" if given else "needs a reference beside the picture"
    cure = "leave --reference out, or give a run of a task refsr_*" if given else "give --reference FILE"
    raise RecipeError(f"is of task {task.name}, which {told}", where=model.trained.where, cure=cure)


def _upscale_tiles(
    model: Predictor,
    picture: Picture,
    reference: Picture | None,
    mosaic: Mosaic,
    tiles: list[Tile],
    numbers: Sequence[int],
    rank: int,
) -> None:
    """Up-scale the tiles of these numbers and write them into the mosaic."""
    generator, began, predicting_s = model.generator, time.perf_counter(), 0.0
    task = generator.task
    reach = reach_px(generator, task.inputs[0])
    with ExitStack() as opened:
        cache = RowCache(opened.enter_context(picture.open()), picture)
        beside = RowCache(opened.enter_context(reference.open()), reference) if reference is not None else None
        writer = opened.enter_context(mosaic.writer(rank))

        def read(layer: Layer, inside: Area) -> np.ndarray:
            if layer == task.inputs[0]:
                return _filled(cache, inside, picture, reach)
            assert beside is not None
            return beside.read(inside)[0]

        for number in _tracked(numbers, rank):
            tile = tiles[number]
            # A tile's margins at the border are mirrored: rows further down than these are not looked at again.
            past = tile.seen.row - 2 * reach - generator.multiple_px // task.scale
            cache.forget_above(past)
            if beside is not None:
                beside.forget_above(past * task.scale)
            opacity = cache.read(tile.seen)[1]
            cut = tile.cut(task.scale)
            fine_opacity = np.repeat(np.repeat(opacity, task.scale, 0), task.scale, 1)[cut]
            stored = np.zeros((len(picture.bands), *fine_opacity.shape), np.float32)
            if opacity.any():
                now = time.perf_counter()
                estimate = upscale_tile(model, read, tile.seen, picture.height, picture.width)
                stored = estimate[(slice(None), *cut)].cpu().numpy()
                predicting_s += time.perf_counter() - now
            if not np.isfinite(stored).all():
                raise NotFiniteError(
                    f"{model.trained.where} gives values that are no numbers at row {tile.seen.row}, column "
                    f"{tile.seen.column}",
                    where=picture.name,
                    cure="give --precision fp32; if that does not help, train the model again",
                )
            writer.write(number, picture.encode(stored, fine_opacity), tile.kept)
    took_s = time.perf_counter() - began
    logger.info("%s: %d tiles in %.1f s, predicting %.1f s", picture.name, len(numbers), took_s, predicting_s)


def _tracked(numbers: Sequence[int], rank: int) -> Iterator[int]:
    return track(numbers, "tiles", shown=rank == 0)


def _filled(cache: RowCache, area: Area, picture: Picture, reach: int) -> np.ndarray:
    """Return the values (C, H, W) of an area, missing ones filled, the same for every tile that looks at them."""
    values, opacity = cache.read(area)
    if opacity.all():
        return values
    around = area.grown(reach).within(picture.height, picture.width)
    values, opacity = cache.read(around)
    inside = area.relative_to(around).slices
    return np.stack([fill_missing(plane, opacity == 0, reach)[inside] for plane in values])


def _key(
    model: Predictor, picture: Picture, options: UpscaleOptions, driver: str, reference: Picture | None
) -> dict[str, object]:
    """Return what decides the pixels, as JSON: the same key gives the same file."""
    beside = {} if reference is None else {"reference": reference.identity}
    return {
        **beside,
        "schema": _SCHEMA,
        "software": __version__,
        "source": picture.identity,
        "model": {
            **model.card.as_json(),
            "weights_sha256": model.trained.digest,
            "precision": model.precision,
            "device": model.device.type,
        },
        "codings": [asdict(coding) for coding in picture.codings],
        "tile_px": options.tile_px,
        "overlap_px": options.overlap_px,
        "driver": driver,
    }


def _tags(model: Predictor) -> dict[str, str]:
    card = model.card
    return {
        "software": f"hpc_sr {__version__}",
        "model": f"{card.family} {card.task} step {card.step} degradation {card.degradation} sha256 "
        f"{model.trained.digest[:16]}",
        "made": f"x{model.generator.task.scale} by clip-and-merge",
    }


def _begin(target: Target, mosaic: Mosaic, key: dict[str, object], overwrite: bool) -> set[int]:
    """Return the tiles that are in the mosaic already; it is ready then."""
    check_room(mosaic, target.path, "free disk space, or give a folder on another disk")
    mosaic.prepare(key, overwrite)
    return mosaic.done()


def _finish(target: Target, mosaic: Mosaic, count: int) -> None:
    absent = count - len(mosaic.done())
    if absent:
        raise OutputError(
            f"{absent} tiles are not on the disk that this rank sees",
            where=mosaic.folder,
            cure="give --out on a file system that all nodes share, then run again",
        )
    target.write(mosaic)
    mosaic.remove()
