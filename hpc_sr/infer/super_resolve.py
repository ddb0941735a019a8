"""One image, one or more generators, one GeoTIFF with all bands at 10 m, by all ranks together.

Peak host memory, whatever the product's size:

    the interpreter       0.3 GB, with torch
    the network           on the CPU 6 activations of a window, in fp32 4; one is read_px^2 x width x 2 bytes (fp32:
                          4), where read_px is the core and its halo: 85 MB for S2x of width 128 (576 px)
    decoded strips        three per band: of 12 bands of a full tile 0.4 GB
    the decoder's cache   0.13 GB
    windows in flight     six, 60 bytes per pixel that is read: 16 MB each at 512 px
    freed, not given back up to 0.5 GB, by the C library
    finishing             the copy's block cache, 0.5 GB, when all but the interpreter's is free
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch

from hpc_sr.comm.communicator import Comm
from hpc_sr.errors import OutputError
from hpc_sr.infer.beside import check_beside, files_beside, mend_beside, write_beside
from hpc_sr.infer.check import consistency_of
from hpc_sr.infer.fill import read_filled
from hpc_sr.infer.finishing import check_apart, check_room, final_path, is_finished, keeping
from hpc_sr.infer.images import Image, Radiometry
from hpc_sr.infer.mosaic import Mosaic
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.pipeline import Seconds, run_windows
from hpc_sr.infer.plan import Plan, make_plan
from hpc_sr.infer.predict import Predictor, reach_px
from hpc_sr.infer.sharpener import Sharpener
from hpc_sr.infer.unlike import Likeness
from hpc_sr.infer.windows import Area, stretch_of
from hpc_sr.infer.write import write_geotiff
from hpc_sr.logs import logger
from hpc_sr.sentinel2.safe import BandReader
from hpc_sr.tasks import Layer

#: Strips are decoded once and kept by us: GDAL's own cache need hold no more than the tiles of a strip's edge.
DECODER_CACHE_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Outcome:
    """A finished image, how many of its windows this command predicted, and where this rank's time went."""

    path: Path
    windows: int
    predicted: int
    seconds: Seconds


def super_resolve(models: Sequence[Sharpener], image: Image, out: Path, options: InferOptions, comm: Comm) -> Outcome:
    """Write an image's bands at 10 m as the GeoTIFF `out`; beside it a style, a picture and a STAC item. Collective.

    Measured 10 m bands keep their DN; sharpened ones are in the same convention. A pixel of a band is nodata where
    the measured band is, never because a neighbour is. Killed at any moment, the same command goes on and ends with
    the same bytes; done already, it does nothing. Ranks share the windows, each a stretch of rows.
    Raises what make_plan raises; OutputError; errors of reading the image.
    """
    check_apart(out, image.sources)
    plan, out = make_plan(models, image, options), final_path(out)
    check_apart(out, image.sources, files_beside(plan, out))
    shape = len(plan.bands), plan.area.height, plan.area.width
    mosaic = Mosaic(out, shape, options.dtype)
    count = len(plan.windows)
    if comm.broadcast(_is_there(plan, mosaic, out) if comm.rank == 0 else None):
        _tell_consistency(plan, out, comm)
        return Outcome(out, count, 0, Seconds())
    with mosaic.alone(comm.rank == 0), rasterio.Env(GDAL_CACHEMAX=DECODER_CACHE_BYTES):
        done = comm.broadcast(_begin(plan, mosaic, out) if comm.rank == 0 else None)
        mine = stretch_of([number for number in range(count) if number not in done], comm.rank, comm.world_size)
        likeness = Likeness(plan)
        seconds = run_windows(plan, mine, mosaic, comm.rank, comm.rank == 0, likeness.look)
        logger.info(
            "%d windows in %.0f s: predicting %.0f s, waiting for layers and disk %.0f s; decoding beside it %.0f s",
            len(mine),
            seconds.total,
            seconds.predict,
            seconds.wait,
            seconds.decode,
        )
        likeness.tell(comm)
        comm.barrier()
        if comm.rank == 0:
            _finish(plan, mosaic, out)
    _tell_consistency(plan, out, comm)
    comm.barrier()
    return Outcome(out, count, len(mine), seconds)


def predict_native(predictor: Predictor, reader: BandReader, area: Area) -> torch.Tensor:
    """Return the bands of all targets (C, h, w) of an area of the 10 m grid, float32 in stored units.

    Nodata is filled.
    """
    grid, generator = reader.product.grids[10], predictor.generator
    return predictor.predict(
        lambda layer, inside: read_native(reader, layer, inside, reach_px(generator, layer)),
        area,
        grid.height,
        grid.width,
    )


def read_native(reader: BandReader, layer: Layer, area: Area, reach: int) -> np.ndarray:
    """Return a layer's bands (C, h, w) of an area of their own grid, float32 in stored units.

    Nodata is filled as far as `reach` pixels from what was measured; saturated pixels keep their value.
    """
    product = reader.product

    def read_band(name: str) -> np.ndarray:
        grid = product.grid(name)
        law = Radiometry(product.radiometric_offset[name], product.quantification_value, product.nodata_dn)

        def read(part: Area) -> tuple[np.ndarray, np.ndarray]:
            dn = reader.dn(name, (part.row, part.column, part.height, part.width))
            return law.stored(dn), law.missing(dn)

        return read_filled(read, area, grid.height, grid.width, reach)

    return np.stack([read_band(name) for name in layer.bands])


def _is_there(plan: Plan, mosaic: Mosaic, out: Path) -> bool:
    """Return whether the image is there already; what belongs beside it is then, too.

    Raises OutputError if something else is there, instead of the one or of the others, and must not be overwritten.
    """
    if is_finished(mosaic, out, plan.digest, plan.options.overwrite):
        mend_beside(plan, out)
        return True
    check_beside(plan, out)
    return False


def _begin(plan: Plan, mosaic: Mosaic, out: Path) -> set[int]:
    """Return which windows are in the mosaic already; it is ready then."""
    check_room(mosaic, out, "free disk space, or choose a --region or a folder on another disk")
    mosaic.prepare(plan.key, plan.options.overwrite)
    done = mosaic.done()
    found = f", {len(done)} of them from before" if done else ""
    logger.info(
        "%s: %d x %d px, %d bands, %d windows%s",
        plan.image.name,
        plan.area.height,
        plan.area.width,
        len(plan.bands),
        len(plan.windows),
        found,
    )
    return done


def _finish(plan: Plan, mosaic: Mosaic, out: Path) -> None:
    absent = set(range(len(plan.windows))) - mosaic.done()
    if absent:
        raise OutputError(
            f"{len(absent)} windows are not on the disk that this rank sees",
            where=mosaic.folder,
            cure="give --out on a file system that all nodes share, then run again",
        )
    logger.info("%s: writing %s", plan.image.name, out)
    if not _has_values(plan, mosaic):
        logger.warning("%s: no pixel was predicted: nothing was measured there", plan.image.name)
    write_geotiff(plan, mosaic, out)
    mosaic.remove()
    write_beside(plan, out)


def _has_values(plan: Plan, mosaic: Mosaic) -> bool:
    """Return whether a sharpened band has a pixel that is not nodata; ends with the first row that has one."""
    rows = (
        (row, plan.encodings[output.source].nodata)
        for index, output in enumerate(plan.bands)
        if output.kind == "sharpened"
        for row in mosaic.rows(index)
    )
    return not all(np.all((row == nodata) | np.isnan(row)) for row, nodata in rows)


def _tell_consistency(plan: Plan, out: Path, comm: Comm) -> None:
    """Log how far the image, degraded again, is from the measured bands, if that was asked for."""
    if plan.options.check and comm.rank == 0:
        with keeping(out, "its check"):
            found = consistency_of(plan, out)
        for name, (rmse, mean) in found.items():
            if math.isnan(rmse):
                logger.info("%s: consistency of %s: nothing was measured that can be compared", out.name, name)
            else:
                logger.info("%s: consistency of %s: RMSE %.2f of a mean of %.0f", out.name, name, rmse, mean)
