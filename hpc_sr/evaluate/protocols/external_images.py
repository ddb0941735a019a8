"""Images that somebody else made, read window by window in stored units: files on local disks, GeoTIFF, JPEG 2000,
PNG, JPEG or .npy.

What a pixel's number means must be in the file or be said: a guess by magnitude would be wrong on dark scenes, and
nobody would see it. Units:

tags         value * scale + offset is reflectance, both from the GeoTIFF
dn           reflectance x 10 000 without an offset
reflectance  1.0 is all light
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.transform import Affine
from rasterio.windows import Window

from hpc_sr.disk import size_of
from hpc_sr.errors import ImageError
from hpc_sr.infer.windows import Area
from hpc_sr.logs import logger
from hpc_sr.sentinel2.band_names import band_named
from hpc_sr.sentinel2.local_rasters import RASTER_ERRORS, open_local
from hpc_sr.tasks import REFLECTANCE_ONE

Unit = Literal["tags", "dn", "reflectance"]

DRIVERS = ("GTiff", "JP2OpenJPEG", "PNG", "JPEG")

#: An axis of fewer than this is one of bands.
_FEW = 16


@dataclass(frozen=True, eq=False)
class External:
    """An open image. `read` returns an area's values (C, h, w), float32 in stored units, and where they are valid.

    Valid (C, h, w) is false where the file declares that a band holds no data: nodata value, mask or alpha band. NaN
    that nobody declared stays valid. Names, CRS and transform are None where the file does not tell them.
    """

    path: Path
    count: int
    height: int
    width: int
    bands: tuple[str, ...] | None
    crs: CRS | None
    transform: Affine | None
    read: Callable[[Area], tuple[np.ndarray, np.ndarray]]


@contextmanager
def open_image(path: Path, unit: Unit = "tags") -> Iterator[External]:
    """Yield an image that is read as it is asked for.

    A .npy is (H, W), (C, H, W), or (H, W, C) if only the last axis is short, and needs a unit other than `tags`.
    Sentinel-2 bands get their usual names whatever else is in their descriptions ("SR B5 (705 nm)" is B05).
    Raises ImageError if it cannot be read, has no numbers, its axes are ambiguous, or nothing tells its unit.
    """
    if path.suffix == ".npy":
        yield _open_array(path, unit)
        return
    try:
        dataset = open_local(path, DRIVERS)
    except RASTER_ERRORS as error:
        raise ImageError(f"is no readable raster ({error})", where=path, cure="the file is damaged") from error
    with dataset:
        yield _open_raster(path, dataset, unit)


def _open_array(path: Path, unit: Unit) -> External:
    # Its pixels are read as they are asked for, so it may be of any size.
    size_of(path, ImageError, "give a file on this machine, written with numpy.save", most_bytes=sys.maxsize)
    try:
        stored: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, OverflowError, MemoryError, TypeError, SyntaxError) as error:
        raise ImageError(f"is no readable array ({error})", where=path, cure="write it with numpy.save") from error
    if unit == "tags":
        raise _unknown_unit(path)
    if stored.ndim == 2:
        stored = stored[None]
    elif stored.ndim == 3 and stored.shape[2] < _FEW <= stored.shape[0]:
        stored = np.moveaxis(stored, 2, 0)
    elif stored.ndim != 3 or stored.shape[2] < _FEW:
        raise ImageError(
            f"has shape {stored.shape}: which axis are the bands?", where=path, cure="save it as (bands, rows, columns)"
        )
    _check_numbers(path, stored.dtype.name)
    factor = REFLECTANCE_ONE if unit == "reflectance" else 1.0

    def read(area: Area) -> tuple[np.ndarray, np.ndarray]:
        values = np.asarray(stored[(slice(None), *area.slices)], np.float64) * factor
        return values.astype(np.float32), np.ones(values.shape, bool)

    count, height, width = stored.shape
    return External(path, count, height, width, None, None, None, read)


def _open_raster(path: Path, dataset: rasterio.DatasetReader, unit: Unit) -> External:
    layers = [i for i, use in zip(dataset.indexes, dataset.colorinterp, strict=True) if use != ColorInterp.alpha]
    scales, offsets = (np.array(told)[np.array(layers) - 1] for told in (dataset.scales, dataset.offsets))
    if unit == "tags":
        if ((scales == 1) & (offsets == 0)).any():
            raise _unknown_unit(path)
    else:
        said = 1.0 if unit == "reflectance" else 1 / REFLECTANCE_ONE
        if ((scales != 1) | (offsets != 0)).any() and not (np.isclose(scales, said).all() and (offsets == 0).all()):
            logger.warning(
                "%s says that reflectance is value * %g %+g: not so read, as its unit is said to be %s",
                path,
                scales[0],
                offsets[0],
                unit,
            )
        scales, offsets = np.full(len(layers), said), np.zeros(len(layers))
    for kind in dataset.dtypes:
        _check_numbers(path, kind)

    def read(area: Area) -> tuple[np.ndarray, np.ndarray]:
        window = Window(area.column, area.row, area.width, area.height)
        try:
            stored, masks = dataset.read(layers, window=window), dataset.read_masks(layers, window=window)
        except RASTER_ERRORS as error:
            raise ImageError(f"cannot be read ({error})", where=path, cure="the file is damaged") from error
        values = stored * (scales * REFLECTANCE_ONE)[:, None, None] + (offsets * REFLECTANCE_ONE)[:, None, None]
        return values.astype(np.float32), masks != 0

    transform = None if dataset.transform.is_identity else dataset.transform
    names = _band_names([dataset.descriptions[i - 1] for i in layers])
    return External(path, len(layers), dataset.height, dataset.width, names, dataset.crs, transform, read)


def _unknown_unit(path: Path) -> ImageError:
    return ImageError(
        "does not tell the unit of its values: no scale and offset",
        where=path,
        cure="say it: dn (reflectance x 10 000 without an offset) or reflectance",
    )


def _check_numbers(path: Path, kind: str) -> None:
    if not kind.startswith(("uint", "int", "float")):
        raise ImageError(f"holds {kind}, not real numbers", where=path, cure="write integers or floats")


def _band_names(descriptions: list[str | None]) -> tuple[str, ...] | None:
    """Return a file's band names, Sentinel-2's spelt as here; None if one is missing or is there twice."""
    names = [name for text in descriptions if (name := band_named(text) or text)]
    return tuple(names) if len(set(names)) == len(descriptions) else None
