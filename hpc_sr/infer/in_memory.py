"""An image whose result is an array instead of a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import rasterio

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.infer.images import Image
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.pipeline import run_windows
from hpc_sr.infer.plan import Plan, make_plan
from hpc_sr.infer.sharpener import Sharpener
from hpc_sr.infer.super_resolve import DECODER_CACHE_BYTES
from hpc_sr.infer.unlike import Likeness
from hpc_sr.infer.windows import Area


class ArrayMosaic:
    """The image in the making, in memory: `values` (bands, rows, columns)."""

    def __init__(self, shape_CHW: tuple[int, int, int], dtype: str):
        self.values, self.writing_s = np.empty(shape_CHW, dtype), 0.0

    @contextmanager
    def writer(self, rank: int) -> Iterator[ArrayMosaic]:
        """Lend what windows are written with."""
        yield self

    def write(self, number: int, values_CHW: np.ndarray, area: Area) -> None:
        """Write all bands of an area."""
        self.values[(slice(None), *area.slices)] = values_CHW


def sharpen_in_memory(models: Sequence[Sharpener], image: Image, options: InferOptions) -> tuple[Plan, np.ndarray]:
    """Return an image's bands at 10 m (C, H, W) and the plan that says what they are. In this process alone.

    The values are those of the file that super_resolve writes. Raises what make_plan raises; errors of reading.
    """
    plan = make_plan(models, image, options)
    mosaic = ArrayMosaic((len(plan.bands), plan.area.height, plan.area.width), options.dtype)
    with rasterio.Env(GDAL_CACHEMAX=DECODER_CACHE_BYTES):
        likeness = Likeness(plan)
        run_windows(plan, range(len(plan.windows)), mosaic, 0, False, likeness.look)
    likeness.tell(SerialComm())
    return plan, mosaic.values
