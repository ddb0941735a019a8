"""One raster of a product: opened with every check that its metadata allow, decoded in strips by our own threads.

Decoding with GDAL's own threads loses their errors: tiles that a torn file lacks come back as old memory. One GDAL
thread a strip is as fast and tells.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, BinaryIO

import numpy as np
import rasterio
import rasterio.features
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine
from rasterio.windows import Window as RasterWindow

from hpc_sr.errors import RasterError
from hpc_sr.sentinel2.archive import ProductFiles, as_product_error
from hpc_sr.sentinel2.codestream import Codestream, is_jpeg2000, read_codestream, tile_digests
from hpc_sr.sentinel2.local_rasters import RASTER_ERRORS, check_companions
from hpc_sr.sentinel2.metadata import Grid
from hpc_sr.sentinel2.polygons import Region

# Masks often say nothing of where they lie; the metadata do. Filters belong to the process, not to a thread.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)

#: (row, column, height, width) in pixels of the raster's own grid.
Window = tuple[int, int, int, int]

_NOT_OURS = "the file does not belong to this product: fetch it again"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
#: A strip of rows that one thread decodes: a whole number of JPEG2000 tiles, at least this high.
_STRIP_ROWS = 1024


class Raster:
    """An open raster file. Raises MissingFileError or RasterError naming it if it is not what the grid says."""

    def __init__(self, source: ProductFiles, name: str, grid: Grid, threads: int):
        self.where, self._grid, self._threads = source.where(name), grid, threads
        source.require(name)
        self._unpacked = _unpack(source, name) if source.zipped else None
        # An absolute path is a path: "s3:/bucket" below the working directory would be taken for more.
        self._file = f"/dev/fd/{self._unpacked.fileno()}" if self._unpacked else str(self.where.absolute())
        if self._unpacked is None:
            check_companions(self.where, RasterError)
        with self._typed("is no readable raster", "the file is empty, damaged, or neither JPEG2000 nor GeoTIFF"):
            self._driver, self._codestream = self._structure()
            self._dataset = self._open()
        self.count, self.dtype = self._dataset.count, self._dataset.dtypes[0]
        problem = self._misfit()
        if problem:
            self.close()
            raise RasterError(problem, where=self.where, cure=_NOT_OURS)

    def close(self) -> None:
        self._dataset.close()
        if self._unpacked is not None:
            self._unpacked.close()

    def read(self, layer: int, window: Window | None = None) -> np.ndarray:
        """Return a layer (H, W), counted from 1. Raises RasterError if there is none or it cannot be decoded."""
        row, column, height, width = window or (0, 0, self._grid.height, self._grid.width)
        assert row >= 0 and column >= 0 and row + height <= self._grid.height and column + width <= self._grid.width
        self._check_layers((layer,))
        pixels = np.empty((height, width), self._dataset.dtypes[layer - 1])
        tile_rows = self._dataset.block_shapes[layer - 1][0]
        strip_rows = -(-_STRIP_ROWS // tile_rows) * tile_rows
        edges = [row, *range((row // strip_rows + 1) * strip_rows, row + height, strip_rows), row + height]

        def read(top: int, bottom: int, dataset: rasterio.DatasetReader) -> None:
            strip = RasterWindow(column, top, width, bottom - top)
            with rasterio.Env(GDAL_NUM_THREADS="1"):
                dataset.read(layer, window=strip, out=pixels[top - row : bottom - row])

        def read_apart(top: int, bottom: int) -> None:
            with rasterio.Env(GDAL_NUM_THREADS="1"), self._open() as own:
                read(top, bottom, own)

        with self._decoding():
            if height <= 2 * strip_rows or self._threads == 1:
                # Windows overlap: this dataset's cache holds the tiles that the one before has decoded.
                for top, bottom in zip(edges[:-1], edges[1:], strict=True):
                    read(top, bottom, self._dataset)
            else:
                with ThreadPoolExecutor(self._threads) as pool:
                    list(pool.map(read_apart, edges[:-1], edges[1:]))
        return pixels

    def read_repeating(self, layers: tuple[int, ...]) -> np.ndarray:
        """Return whole layers (n, H, W) of a mask, most of whose tiles are alike: of those that hold the same bytes
        one is decoded, and stands for the others if it is constant, as tiles without a mark are."""
        self._check_layers(layers)
        planes = np.zeros((len(layers), self._grid.height, self._grid.width), self.dtype)
        if self._codestream is None:
            for plane, layer in zip(planes, layers, strict=True):
                if (found := self.read(layer)).any():  # zeros that nobody wrote cost no memory
                    plane[:] = found
            return planes
        boxes = self._codestream.tile_boxes()
        known: dict[tuple[bytes, int, int], np.ndarray | None] = {}
        with self._decoding(), rasterio.Env(GDAL_NUM_THREADS="1"):
            for (row, column, height, width), digest in zip(boxes, self._digests(self._codestream), strict=True):
                inside = (slice(None), slice(row, row + height), slice(column, column + width))
                levels = known.get((digest, height, width))
                if levels is None:
                    window = RasterWindow(column, row, width, height)
                    tile = self._dataset.read(list(layers), window=window)
                    levels = tile[:, :1, :1]
                    constant = bool((tile == levels).all())
                    known[digest, height, width] = levels if constant else None
                    levels = levels if constant else tile
                if levels.any():
                    planes[inside] = levels
        return planes

    def _digests(self, codestream: Codestream) -> list[bytes]:
        with self._stream() as stream:
            return tile_digests(stream, codestream)

    def _stream(self) -> BinaryIO:
        return Path(self._file).open("rb")

    def _open(self) -> rasterio.DatasetReader:
        return rasterio.open(self._file, driver=self._driver)

    def _structure(self) -> tuple[str, Codestream | None]:
        """Return the driver for the file, and a JPEG2000 file's structure.

        Bands are JPEG2000, or GeoTIFF that kept the name. GDAL's other drivers are not asked: a VRT leads to any file
        and to the network.
        """
        with self._stream() as stream:
            start = stream.read(4)
            if start in _TIFF:
                return "GTiff", None
            if not is_jpeg2000(stream):
                raise RasterError(
                    f"is no readable raster (it begins with {start!r})",
                    where=self.where,
                    cure="the file is empty, damaged, or neither JPEG2000 nor GeoTIFF: fetch it again",
                )
            codestream = read_codestream(stream)
        if codestream is None:
            raise RasterError("stops before its end", where=self.where, cure="the file is truncated: fetch it again")
        problem = self._other_size(codestream.height, codestream.width)
        if problem:  # before a decoder makes room for it
            raise RasterError(problem, where=self.where, cure=_NOT_OURS)
        return "JP2OpenJPEG", codestream

    def _misfit(self) -> str | None:
        """Return how the file contradicts the metadata's grid, if it does. Without a georeference it cannot."""
        dataset, grid = self._dataset, self._grid
        problem = self._other_size(dataset.height, dataset.width)
        if problem is not None:
            return problem
        if dataset.crs and dataset.crs != CRS.from_string(grid.crs):
            return f"is in {dataset.crs}, the metadata say {grid.crs}"
        stated = affine(grid)
        if dataset.transform != Affine.identity() and not dataset.transform.almost_equals(stated, 0.01):
            return f"lies at {tuple(dataset.transform)[:6]}, the metadata say {tuple(stated)[:6]}"
        return None

    def _other_size(self, height: int, width: int) -> str | None:
        grid = self._grid
        if (height, width) == (grid.height, grid.width):
            return None
        return f"is {height} x {width} px, the metadata say {grid.height} x {grid.width} px at {grid.gsd_m} m"

    def _check_layers(self, layers: Iterable[int]) -> None:
        if max(layers) > self.count:
            raise RasterError(
                f"has {self.count} layers, not {max(layers)}",
                where=self.where,
                cure="the file is damaged: fetch it again",
            )

    def _decoding(self) -> AbstractContextManager[None]:
        return self._typed("cannot be decoded", "the file is truncated or damaged")

    @contextmanager
    def _typed(self, problem: str, damage: str) -> Iterator[None]:
        """Turn what rasterio and the system raise inside into a RasterError of this file."""
        cure = f"{damage}: fetch it again"
        with as_product_error(RasterError, problem, self.where, cure):
            try:
                yield
            except RASTER_ERRORS as error:
                raise RasterError(f"{problem} ({error})", where=self.where, cure=cure) from error


def _unpack(source: ProductFiles, name: str) -> IO[bytes]:
    """Return a zip's member as a file without a name: it costs no memory, and a kill leaves nothing behind."""
    content = source.read(name)
    try:
        file = TemporaryFile()  # noqa: SIM115 (it stays open as long as the raster)
        file.write(content)
        file.flush()
    except OSError as error:
        cure = "set TMPDIR to a folder with room"
        raise RasterError(f"cannot be unpacked ({error.strerror})", where=source.where(name), cure=cure) from error
    return file


def affine(grid: Grid) -> Affine:
    """Return the map transform of a grid."""
    return Affine(grid.gsd_m, 0.0, grid.ulx_m, 0.0, -grid.gsd_m, grid.uly_m)


def rasterize(regions: list[tuple[Region, int]], grid: Grid) -> np.ndarray:
    """Return (H, W) uint8 on a grid: the value given with each region in every pixel that it touches, 0 elsewhere."""
    shapes = [
        ({"type": "Polygon", "coordinates": [list(ring) for ring in region.rings]}, value) for region, value in regions
    ]
    if not shapes:
        return np.zeros((grid.height, grid.width), np.uint8)
    return rasterio.features.rasterize(
        shapes, out_shape=(grid.height, grid.width), transform=affine(grid), all_touched=True, dtype=np.uint8
    )
