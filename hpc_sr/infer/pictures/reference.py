"""A picture's reference on the grid of its result, `scale` times as fine: what networks with a reference look at.

With georeferences it is warped there, whatever its system, grid and pixel size; without, it has that size already.
What it does not show is zeros to the network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from rasterio.errors import CRSError
from rasterio.transform import Affine, array_bounds
from rasterio.warp import Resampling, reproject, transform_bounds

from hpc_sr.errors import ImageError
from hpc_sr.infer.pictures.reading import Picture, ReadRows
from hpc_sr.logs import logger
from hpc_sr.sentinel2.local_rasters import RASTER_ERRORS

#: How far cubic convolution looks, in pixels of the coarser of two grids, and one more for rounding.
_KERNEL_PX = 3


def on_grid_of(picture: Picture, reference: Picture, scale: int, peak: float | None) -> Picture:
    """Return the reference as large as the picture's result, pixel upon pixel; missing pixels are zeros, said once.

    `peak` is the greatest value of units that have one: interpolated values stay within 0 and it.
    Raises ImageError where neither georeferences nor sizes tell where it lies, and where it shows other ground.
    """
    height, width = picture.height * scale, picture.width * scale
    if picture.crs and reference.crs:
        placed = _warped(picture, reference, scale, peak)
    elif (reference.height, reference.width) == (height, width):
        placed = reference
    else:
        raise ImageError(
            f"is {reference.height} x {reference.width} px, beside {picture.name} it must be {height} x {width} px",
            where=reference.source,
            cure="cut it to the picture's ground at its size, or give both a georeference",
        )
    return _with_zeros(placed, picture)


def _warped(picture: Picture, reference: Picture, scale: int, peak: float | None) -> Picture:
    height, width = picture.height * scale, picture.width * scale
    grid = picture.transform * Affine.scale(1 / scale)
    if _rows_seen(picture, reference, grid, height, width) is None:
        raise ImageError(
            f"does not show the ground of {picture.name}",
            where=reference.source,
            cure="give a reference of the same ground",
        )

    @contextmanager
    def open_rows() -> Iterator[ReadRows]:
        with reference.open() as read_source:

            def read(first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
                strip = grid * Affine.translation(0, first)
                values = np.full((len(reference.bands), last - first, width), np.nan, np.float32)
                rows = _rows_seen(picture, reference, strip, last - first, width)
                if rows is not None:
                    source, opacity = read_source(*rows)
                    source = np.where(opacity == 0, np.float32(np.nan), source)
                    reproject(
                        source,
                        values,
                        src_transform=reference.transform * Affine.translation(0, rows[0]),
                        src_crs=reference.crs,
                        src_nodata=np.nan,
                        dst_transform=strip,
                        dst_crs=picture.crs,
                        dst_nodata=np.nan,
                        resampling=Resampling.cubic,
                        tolerance=0,  # places are the same in any strip
                    )
                if peak is not None:
                    np.clip(values, 0, peak, out=values)
                return values, np.where(np.isnan(values).any(0), np.uint8(0), np.uint8(255))

            yield read

    return replace(reference, height=height, width=width, crs=picture.crs, transform=grid, open=open_rows)


def _rows_seen(picture: Picture, reference: Picture, grid: Affine, height: int, width: int) -> tuple[int, int] | None:
    """Return the first row of the reference that a grid in the picture's system looks at, and the one after the last.

    None if it looks at no pixel. Raises ImageError if one system cannot be told in the other.
    """
    try:
        left, bottom, right, top = transform_bounds(picture.crs, reference.crs, *array_bounds(height, width, grid))
    except (*RASTER_ERRORS, CRSError) as error:
        raise ImageError(
            f"cannot be laid upon {picture.name} ({error})",
            where=reference.source,
            cure="warp it to the picture's coordinate system",
        ) from error
    corners = [~reference.transform * (x, y) for x in (left, right) for y in (bottom, top)]
    (first_column, last_column), (first, last) = ((min(axis), max(axis)) for axis in zip(*corners, strict=True))
    if not all(map(math.isfinite, (first_column, last_column, first, last))):
        return None
    margin = _KERNEL_PX * max(1, math.ceil((last - first) / height))
    if last_column <= 0 or first_column >= reference.width or last <= 0 or first >= reference.height:
        return None
    return max(0, math.floor(first) - margin), min(reference.height, math.ceil(last) + margin)


def _with_zeros(placed: Picture, picture: Picture) -> Picture:
    """Return the reference with zeros for its missing pixels; the first time that there are some is told."""
    told: list[bool] = []

    @contextmanager
    def open_rows() -> Iterator[ReadRows]:
        with placed.open() as read_placed:

            def read(first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
                values, opacity = read_placed(first, last)
                missing = opacity == 0
                if missing.any() and not told:
                    told.append(True)
                    logger.warning("%s lacks a part of the ground of %s: zeros there", placed.name, picture.name)
                return np.where(missing, np.float32(0), values), opacity

            yield read

    return replace(placed, open=open_rows)
