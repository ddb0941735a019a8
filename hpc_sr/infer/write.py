"""A georeferenced GeoTIFF written window by window: tiled, compressed, whole or absent."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.windows import Window

from hpc_sr.errors import OutputError
from hpc_sr.infer.windows import Area
from hpc_sr.logs import check_writable
from hpc_sr.sentinel2.bands import BANDS
from hpc_sr.sentinel2.rasters import affine
from hpc_sr.sentinel2.safe import Product

_COLOURS = {"B02": ColorInterp.blue, "B03": ColorInterp.green, "B04": ColorInterp.red}


class GeoTiffWriter:
    """Write bands of a product at 10 m as uint16 DN in the product's own convention. Use as a context manager.

    CRS and transform are the product's, descriptions the band names; scale and offset turn DN into reflectance.
    Blocks of `block_px`: windows that start on multiples of it are compressed once.
    """

    def __init__(self, path: Path, product: Product, bands: list[str], block_px: int, tags: dict[str, str]):
        self._path = path
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        grid = product.grids[10]
        profile = {
            "driver": "GTiff", "dtype": "uint16", "count": len(bands), "height": grid.height, "width": grid.width,
            "crs": grid.crs, "transform": affine(grid), "nodata": product.nodata_dn, "interleave": "band",
            "tiled": True, "blockxsize": block_px, "blockysize": block_px, "compress": "deflate", "predictor": 2,
            "bigtiff": "if_safer", "num_threads": "all_cpus",
        }  # fmt: skip
        check_writable(path)
        try:
            self._dataset = rasterio.open(self._partial, "w", **profile)
            self._describe(product, bands, tags)
        except RasterioError as error:
            self._partial.unlink(missing_ok=True)
            raise OutputError(f"cannot be written ({error})", where=path, cure="give a writable file") from error

    def write(self, dn_CHW: np.ndarray, area: Area) -> None:
        """Write all bands of an area."""
        try:
            self._dataset.write(dn_CHW, window=Window(area.column, area.row, area.width, area.height))
        except RasterioError as error:
            raise OutputError(f"cannot be written ({error})", where=self._path, cure="free disk space") from error

    def __enter__(self) -> GeoTiffWriter:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._dataset.close()
            if kind is None:
                with self._partial.open("rb") as file:
                    os.fsync(file.fileno())
                self._partial.replace(self._path)
        except (RasterioError, OSError) as failure:
            raise OutputError(f"cannot be written ({failure})", where=self._path, cure="free disk space") from failure
        finally:
            self._partial.unlink(missing_ok=True)

    def _describe(self, product: Product, bands: list[str], tags: dict[str, str]) -> None:
        quantification = product.quantification_value
        self._dataset.descriptions = bands
        self._dataset.scales = [1.0 / quantification] * len(bands)
        self._dataset.offsets = [product.radiometric_offset[name] / quantification for name in bands]
        self._dataset.colorinterp = [_COLOURS.get(name, ColorInterp.undefined) for name in bands]
        self._dataset.update_tags(**tags)
        for index, name in enumerate(bands, start=1):
            self._dataset.update_tags(index, wavelength_nm=str(BANDS[name].wavelength_nm))
