"""What a file of a stack says of itself, and what its pixels say where it is silent."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio

from hpc_sr.errors import ImageError, RasterError
from hpc_sr.infer.images import Radiometry
from hpc_sr.sentinel2.local_rasters import RASTER_ERRORS, open_local
from hpc_sr.sentinel2.metadata import Grid

DRIVERS = ("GTiff", "JP2OpenJPEG")
FLOATS = ("float32", "float64")
#: Scale and offset of a file that tells neither: what its floats hold is reflectance, or unknown.
UNSAID = (1.0, 0.0)
#: Pixels a side that are looked at to tell. Of a file in blocks all are decoded then, of one in lines a few.
_LOOK_PX = 256
#: Share of pixels that are exactly 0 in all bands, from which on they are no measurement: DN 0 is none in a product.
_MANY_ZEROS = 1e-3


@dataclass(frozen=True)
class StackFile:
    """What a file says of itself. `nodata` is None if no pixel can have the value; `silent` is one that does not say
    what marks missing pixels. `looked` are some pixels (C, h, w), of files that say too little."""

    path: Path
    grid: Grid
    dtype: str
    descriptions: tuple[str | None, ...]
    laws: tuple[tuple[float, float], ...]
    nodata: float | None
    silent: bool
    tags: dict[str, str]
    looked: np.ndarray | None


def open_stacked(path: Path) -> rasterio.DatasetReader:
    """Return an open file of a stack. Raises ImageError for other files (open_local), RasterError for damaged ones."""
    try:
        return open_local(path, DRIVERS)
    except RASTER_ERRORS as error:
        raise RasterError(f"is no readable raster ({error})", where=path, cure="make the file anew") from error


def describe(path: Path, nodata: float | None) -> StackFile:
    """Return a file's grid and all that it says of its bands; `nodata`, if given, is said instead of it.

    Raises ImageError for what is no georeferenced file of real numbers on a local disk, RasterError.
    """
    with open_stacked(path) as file:
        at = file.transform
        if file.crs is None or at.b or at.d or at.a <= 0 or at.a != -at.e:
            raise ImageError(
                "has no north-up grid of square pixels in a reference system",
                where=path,
                cure="georeference the file, or warp it",
            )
        if file.dtypes[0].startswith("complex"):
            raise ImageError(f"holds {file.dtypes[0]} numbers", where=path, cure="write integers or floats")
        marker = _possible(file.nodata if nodata is None else nodata, file.dtypes[0])
        laws = tuple(zip(file.scales, file.offsets, strict=True))
        silent = nodata is None and marker is None and (file.nodata is None or file.dtypes[0] not in FLOATS)
        try:
            looked = _look(file) if silent or (file.dtypes[0] in FLOATS and UNSAID in laws) else None
        except RASTER_ERRORS as error:
            raise RasterError(f"cannot be decoded ({error})", where=path, cure="make the file anew") from error
        grid = Grid(at.a, file.height, file.width, at.c, at.f, file.crs.to_string())
        return StackFile(path, grid, file.dtypes[0], file.descriptions, laws, marker, silent, file.tags(), looked)


def _look(file: rasterio.DatasetReader) -> np.ndarray:
    return file.read(out_shape=(file.count, min(file.height, _LOOK_PX), min(file.width, _LOOK_PX)))


def _possible(nodata: float | None, dtype: str) -> float | None:
    """Return the value that marks missing pixels, None if no pixel can have it. NaN is always missing."""
    if nodata is None or math.isnan(nodata):
        return None
    if dtype in FLOATS:
        return nodata
    info = np.iinfo(dtype)
    return nodata if info.min <= nodata <= info.max and float(nodata).is_integer() else None


def check_zeros(files: Iterable[StackFile]) -> None:
    """Raise ImageError if many pixels of a grid are 0 in all bands, and no file says what that means."""
    silent = [(file.path, file.looked) for file in files if file.silent and file.looked is not None]
    if not silent:
        return
    share = float(np.mean(np.concatenate([looked == 0 for _, looked in silent]).all(0)))
    if share > _MANY_ZEROS:
        raise ImageError(
            f"is 0 in all bands of {100 * share:.1f} % of its pixels, and has no nodata value",
            where=silent[0][0],
            cure="give --nodata 0 if nothing was measured there, --nodata nan if it was",
        )


def median_of(file: StackFile, index: int) -> float:
    """Return about the median of a band's measured values; 0 without any, and where the type tells enough."""
    if file.dtype not in FLOATS or file.looked is None:
        return 0.0
    values = file.looked[index - 1]
    # Zeros are what is left around DN by software that sets no nodata.
    measured = values[~Radiometry(0.0, 1.0, file.nodata).missing(values) & (values != 0)]
    return float(np.median(measured)) if measured.size else 0.0
