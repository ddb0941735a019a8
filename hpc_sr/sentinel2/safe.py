"""Products: a .SAFE directory becomes metadata and band pixels. The only file that names rasterio in this room.

Everything is read from the product's own metadata: level, baseline, satellite, quantification, per-band offset,
special values, grids. File names and dates decide nothing.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.windows import Window

from hpc_sr.errors import MissingFileError, RasterError, UnknownBandError
from hpc_sr.sentinel2.bands import BANDS, band
from hpc_sr.sentinel2.masks import Invalid, invalid
from hpc_sr.sentinel2.metadata import Grid, read_metadata
from hpc_sr.sentinel2.radiometry import to_reflectance

#: The layer of MSK_QUALIT (counted from 1) that tells saturation (product specification, baseline 04.00 on).
_QUALIT_SATURATED = 8
#: The class of the scene classification (L2A) that tells saturated or defective pixels.
_SCL_SATURATED = 1
#: A strip of rows that one thread decodes: a whole number of JPEG2000 tiles, at least this high.
_STRIP_ROWS = 1024
_JP2_SIGNATURE = bytes.fromhex("0000000c6a5020200d0a870a")
_END_OF_CODESTREAM = b"\xff\xd9"


@dataclass(frozen=True)
class Product:
    """What a product says of itself. Pixels are read through `BandReader`.

    `radiometric_offset` is per band, in DN; `grids` per GSD in metres; `files` per band at its native GSD;
    `quality_files` are the per-band quality masks, `scene_class_file` the 20 m classification of L2A.
    """

    path: Path
    name: str
    level: str
    processing_baseline: str
    satellite: str
    tile: str
    sensing_time: str
    quantification_value: float
    radiometric_offset: dict[str, float]
    nodata_dn: int
    saturated_dn: int
    grids: dict[int, Grid]
    files: dict[str, Path]
    quality_files: dict[str, Path]
    scene_class_file: Path | None

    def grid(self, name: str) -> Grid:
        """Return the native grid of a band."""
        return self.grids[band(name).gsd_m]

    def provenance(self) -> dict[str, str]:
        """Return what a store or report says of where its pixels came from."""
        return {
            "product": self.name, "level": self.level, "processing_baseline": self.processing_baseline,
            "satellite": self.satellite, "tile": self.tile, "sensing_time": self.sensing_time,
        }  # fmt: skip


def open_product(path: str | Path) -> Product:
    """Return the product in a .SAFE directory (or beside its MTD_MSI*.xml).

    Raises MissingFileError, MetadataError, UnknownSatelliteError, each naming the file and the value.
    """
    path = Path(path)
    root = path.parent if path.suffix.lower() == ".xml" else path
    if not root.is_dir():
        raise MissingFileError("is no product directory", where=path, cure="give the path of a .SAFE directory")
    return Product(**read_metadata(root))


class BandReader:
    """Open band files of one product, closed together. Use as a context manager.

    Windows are (row, column, height, width) in pixels of the band's own grid.
    """

    def __init__(self, product: Product):
        self.product = product
        self._datasets: dict[Path, rasterio.DatasetReader] = {}

    def __enter__(self) -> BandReader:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for dataset in self._datasets.values():
            dataset.close()
        self._datasets.clear()

    def dn(self, name: str, window: tuple[int, int, int, int] | None = None) -> np.ndarray:
        """Return the digital numbers (H, W) uint16 of a band.

        Raises RasterError, MissingFileError, UnknownBandError.
        """
        if name not in self.product.files:
            known = f"{self.product.level} has {', '.join(b for b in BANDS if b in self.product.files)}"
            raise UnknownBandError(f"no band {name!r}", where=self.product.name, cure=known)
        return self._read(self.product.files[name], self.product.grid(name), 1, window).astype(np.uint16, copy=False)

    def reflectance(self, name: str, window: tuple[int, int, int, int] | None = None) -> tuple[np.ndarray, Invalid]:
        """Return reflectance (H, W) float32, NaN where it is no measurement, and the masks that say why."""
        product = self.product
        dn = self.dn(name, window)
        values = to_reflectance(dn, product.radiometric_offset[name], product.quantification_value)
        bad = invalid(dn, values, product.nodata_dn, product.saturated_dn, self._quality(name, window))
        values[bad.any] = np.nan
        return values, bad

    def _quality(self, name: str, window: tuple[int, int, int, int] | None) -> np.ndarray | None:
        """Return the product's own saturation mask on the band's grid, or None if it has none."""
        product, grid = self.product, self.product.grid(name)
        file = product.quality_files.get(name)
        if file is not None and file.suffix.lower() == ".jp2":
            return self._read(file, grid, _QUALIT_SATURATED, window) > 0
        if product.scene_class_file is None or grid.gsd_m > 20:
            return None
        ratio = 20 // grid.gsd_m
        row, column, height, width = window or (0, 0, grid.height, grid.width)
        top, left = row // ratio, column // ratio
        bottom, right = -(-(row + height) // ratio), -(-(column + width) // ratio)
        classes = self._read(product.scene_class_file, product.grids[20], 1, (top, left, bottom - top, right - left))
        fine = np.repeat(np.repeat(classes == _SCL_SATURATED, ratio, 0), ratio, 1)
        return fine[row - top * ratio :, column - left * ratio :][:height, :width]

    def _read(self, file: Path, grid: Grid, layer: int, window: tuple[int, int, int, int] | None) -> np.ndarray:
        dataset = self._open(file, grid)
        row, column, height, width = window or (0, 0, grid.height, grid.width)
        assert row >= 0 and column >= 0 and row + height <= grid.height and column + width <= grid.width
        if layer > dataset.count:
            raise RasterError(
                f"has {dataset.count} layers, not {layer}", where=file, cure="the file is damaged: fetch it again"
            )
        pixels = np.empty((height, width), dataset.dtypes[layer - 1])
        tile_rows = dataset.block_shapes[layer - 1][0]
        strip_rows = -(-_STRIP_ROWS // tile_rows) * tile_rows
        edges = [row, *range((row // strip_rows + 1) * strip_rows, row + height, strip_rows), row + height]

        # Decoding with GDAL's own threads loses their errors: tiles that a torn file lacks come back as old memory.
        # One GDAL thread a strip is as fast and tells.
        def read(top: int, bottom: int, source: rasterio.DatasetReader) -> None:
            strip = Window(column, top, width, bottom - top)
            with rasterio.Env(GDAL_NUM_THREADS="1"):
                source.read(layer, window=strip, out=pixels[top - row : bottom - row])

        def read_apart(top: int, bottom: int) -> None:
            with rasterio.Env(GDAL_NUM_THREADS="1"), rasterio.open(file) as own:
                read(top, bottom, own)

        try:
            if height <= 2 * strip_rows:
                # Windows overlap: this dataset's cache holds the tiles that the one before has decoded.
                read(row, row + height, dataset)
            else:
                with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
                    list(pool.map(read_apart, edges[:-1], edges[1:]))
        except RasterioError as error:
            raise RasterError(
                f"cannot be decoded ({error})", where=file, cure="the file is truncated or damaged: fetch it again"
            ) from error
        return pixels

    def _open(self, file: Path, grid: Grid) -> rasterio.DatasetReader:
        if file in self._datasets:
            return self._datasets[file]
        if not file.exists():
            raise MissingFileError("is missing", where=file, cure="the product is incomplete: fetch it again")
        if not _is_whole(file):
            raise RasterError("stops before its end", where=file, cure="the file is truncated: fetch it again")
        try:
            dataset = rasterio.open(file)
        except RasterioError as error:
            raise RasterError(
                f"is no readable raster ({error})", where=file, cure="the file is empty or damaged: fetch it again"
            ) from error
        if (dataset.height, dataset.width) != (grid.height, grid.width):
            size = f"{dataset.height} x {dataset.width} px"
            dataset.close()
            raise RasterError(
                f"is {size}, the metadata say {grid.height} x {grid.width} px at {grid.gsd_m} m",
                where=file, cure="the file does not belong to this product: fetch it again",
            )  # fmt: skip
        self._datasets[file] = dataset
        return dataset


def _is_whole(file: Path) -> bool:
    """Tell whether a JPEG2000 file holds its codestream to the end marker; other formats are left to GDAL.

    A download that was cut, or was filled up with zeros, lacks the marker, and not every decoder minds.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        if stream.read(len(_JP2_SIGNATURE)) != _JP2_SIGNATURE:
            return True
        position = 0
        while position < size:
            stream.seek(position)
            head = stream.read(16)
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            end = position + length if length else size
            if kind == b"jp2c":
                stream.seek(end - 2)
                return stream.read(2) == _END_OF_CODESTREAM
            if end < position + 8:
                return False
            position = end
    return False


def affine(grid: Grid) -> Affine:
    """Return the map transform of a grid, for writers of georeferenced files."""
    return Affine(grid.gsd_m, 0.0, grid.ulx_m, 0.0, -grid.gsd_m, grid.uly_m)
