"""Products: a .SAFE directory or zip becomes metadata and band pixels.

Everything is read from the product's own metadata: its name, level, baseline, satellite, quantification, per-band
offset, special values, grids. File names, paths and dates decide nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from hpc_sr.errors import MetadataError, MissingFileError, RasterError, UnknownBandError
from hpc_sr.sentinel2.archive import ProductFiles, as_product_error, find_files
from hpc_sr.sentinel2.bands import BANDS, band
from hpc_sr.sentinel2.masks import Invalid, invalid
from hpc_sr.sentinel2.metadata import Grid, read_metadata
from hpc_sr.sentinel2.polygons import Region, read_regions
from hpc_sr.sentinel2.radiometry import to_reflectance
from hpc_sr.sentinel2.rasters import Raster, Window
from hpc_sr.sentinel2.xml_values import parse_xml

#: The layer of MSK_QUALIT (counted from 1) that tells saturation (product specification, baseline 04.00 on).
_QUALIT_SATURATED = 8
#: The class of the scene classification (L2A) that tells saturated or defective pixels, and its last class.
_SCL_SATURATED, _LAST_CLASS = 1, 11
#: Vector masks of real products have a few MB.
_LARGEST_MASK_BYTES = 128 << 20


@dataclass(frozen=True)
class Product:
    """What one granule of a product says of itself. Pixels are read through `BandReader`.

    `radiometric_offset` is per band, in DN; `grids` per GSD in metres; `files` per band at its native GSD, named
    below the product's root; `masks` by kind ("QUALIT", "CLOUDS") and band ("" for all), `scene_class` of L2A.
    """

    source: ProductFiles
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
    files: dict[str, str]
    masks: dict[str, dict[str, str]]
    scene_class: str | None

    @property
    def path(self) -> Path:
        """The directory or zip."""
        return self.source.path

    def grid(self, name: str) -> Grid:
        """Return the native grid of a band."""
        return self.grids[band(name).gsd_m]

    def where(self, name: str) -> Path:
        """Return the path of a band's file, through the zip if it is in one."""
        return self.source.where(self.files[name])

    def mask_file(self, kind: str, name: str = "") -> str | None:
        """Return the file of a mask of a band ("" for one of all bands), None where the product announces none."""
        return self.masks.get(kind, {}).get(name)

    @property
    def has_scene_classes(self) -> bool:
        """Whether there is a scene classification to read."""
        return self.scene_class is not None and self.source.has(self.scene_class)

    def provenance(self) -> dict[str, str]:
        """Return what a store or report says of where its pixels came from."""
        return {
            "product": self.name,
            "level": self.level,
            "processing_baseline": self.processing_baseline,
            "satellite": self.satellite,
            "tile": self.tile,
            "sensing_time": self.sensing_time,
        }


def open_products(path: str | Path) -> list[Product]:
    """Return the product of each granule at `path`: a .SAFE directory, its MTD_*.xml, or a .zip read in place.

    A tile's folder of Amazon's buckets is read if it holds product_metadata.xml. Compact products have one granule. Of
    the older multi-granule ones each tile becomes a product of its own, named after both. Names are those in the
    metadata (PRODUCT_URI, or without it TILE_ID), so a product keeps its name in a renamed folder and in a zip.
    Raises MissingFileError, ArchiveError, MetadataError, UnknownSatelliteError, naming file and value.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise MissingFileError(f"{path!r:.100} is no path", cure="give a .SAFE folder or a .zip of one")
    with as_product_error(MetadataError, "cannot be read", Path(path), "fetch the product again"):
        return [Product(**fields) for fields in read_metadata(find_files(path))]


def open_product(path: str | Path) -> Product:
    """Return the product at `path` if it is of one tile. Raises MetadataError naming the tiles of several."""
    products = open_products(path)
    if len(products) > 1:
        tiles = ", ".join(product.tile for product in products)
        raise MetadataError(f"is of {len(products)} tiles: {tiles}", where=path, cure="give a product of one tile")
    return products[0]


class BandReader:
    """Open files of one product, closed together. Use as a context manager, in one thread at a time.

    Windows are (row, column, height, width) in pixels of the band's own grid. Whole bands are decoded by `threads`.
    """

    def __init__(self, product: Product, threads: int | None = None):
        self.product = product
        self._threads = threads or len(os.sched_getaffinity(0))
        self._rasters: dict[str, Raster] = {}

    def __enter__(self) -> BandReader:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for raster in self._rasters.values():
            raster.close()
        self._rasters.clear()

    def dn(self, name: str, window: Window | None = None) -> np.ndarray:
        """Return the digital numbers (H, W) uint16 of a band.

        Raises RasterError, MissingFileError, UnknownBandError.
        """
        if name not in self.product.files:
            known = f"{self.product.level} has {', '.join(b for b in BANDS if b in self.product.files)}"
            raise UnknownBandError(f"no band {name!r}", where=self.product.name, cure=known)
        raster = self._raster(self.product.files[name], self.product.grid(name))
        if raster.count != 1 or raster.dtype not in ("uint8", "uint16"):
            raise RasterError(
                f"holds {raster.count} layers of {raster.dtype}, not one of uint16",
                where=raster.where,
                cure="the file is no band of a product: fetch it again",
            )
        return raster.read(1, window).astype(np.uint16, copy=False)

    def reflectance(self, name: str, window: Window | None = None) -> tuple[np.ndarray, Invalid]:
        """Return reflectance (H, W) float32, NaN where it is no measurement, and the masks that say why."""
        product = self.product
        dn = self.dn(name, window)
        law = product.radiometric_offset[name], product.quantification_value
        values = to_reflectance(dn, *law)
        bad = invalid(dn, *law, product.nodata_dn, product.saturated_dn, self._saturated(name, window))
        values[bad.any] = np.nan
        return values, bad

    def mask(self, kind: str, name: str = "", layers: tuple[int, ...] = (1,)) -> np.ndarray | None:
        """Return layers (n, H, W) of a raster mask on its own grid, or None where the product announces none."""
        file = self.product.mask_file(kind, name)
        if file is None or not file.lower().endswith(".jp2"):
            return None
        grid = self.product.grid(name) if name else self.product.grids[60]
        return self._flags(file, grid).read_repeating(layers)

    def regions(self, kind: str, name: str = "") -> list[Region] | None:
        """Return the regions of a vector mask, or None where the product announces none."""
        file = self.product.mask_file(kind, name)
        if file is None or not file.lower().endswith(".gml"):
            return None
        where = self.product.source.where(file)
        return read_regions(parse_xml(self.product.source.read(file, _LARGEST_MASK_BYTES), where), where)

    def scene_classes(self) -> np.ndarray | None:
        """Return L2A's scene classification (H, W) at 20 m, or None where there is none, as in L1C."""
        if not self.product.has_scene_classes:
            return None
        raster = self._flags(self.product.scene_class or "", self.product.grids[20])
        classes = raster.read(1)
        if classes.max() > _LAST_CLASS:
            raise RasterError(
                f"has a class {classes.max()}, the last one is {_LAST_CLASS}",
                where=raster.where,
                cure="the file is damaged: fetch it again",
            )
        return classes

    def _saturated(self, name: str, window: Window | None) -> np.ndarray | None:
        """Return the product's own saturation mask on the band's grid, or None if it has none."""
        product, grid = self.product, self.product.grid(name)
        file = product.mask_file("QUALIT", name)
        # DN tell saturation too: a mask that is missing is done without, as for those who want no mask at all.
        if file is not None and file.lower().endswith(".jp2") and product.source.has(file):
            return self._flags(file, grid).read(_QUALIT_SATURATED, window) > 0
        if not product.has_scene_classes or grid.gsd_m > 20:
            return None
        ratio = 20 // grid.gsd_m
        row, column, height, width = window or (0, 0, grid.height, grid.width)
        top, left = row // ratio, column // ratio
        bottom, right = -(-(row + height) // ratio), -(-(column + width) // ratio)
        coarse = self._flags(product.scene_class or "", product.grids[20])
        classes = coarse.read(1, (top, left, bottom - top, right - left))
        fine = np.repeat(np.repeat(classes == _SCL_SATURATED, ratio, 0), ratio, 1)
        return fine[row - top * ratio :, column - left * ratio :][:height, :width]

    def _flags(self, file: str, grid: Grid) -> Raster:
        """Return a mask's raster. Raises RasterError if it holds anything but small whole numbers."""
        raster = self._raster(file, grid)
        if raster.dtype not in ("uint8", "uint16"):
            raise RasterError(f"holds {raster.dtype}, not uint8", where=raster.where, cure="the file is no mask")
        return raster

    def _raster(self, file: str, grid: Grid) -> Raster:
        if file not in self._rasters:
            self._rasters[file] = Raster(self.product.source, file, grid, self._threads)
        return self._rasters[file]
