"""What can be super-resolved: bands on nested grids, and how their DN become reflectance."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import numpy as np

from hpc_sr.infer.fill import read_filled
from hpc_sr.infer.windows import Area
from hpc_sr.sentinel2.bands import BANDS, band
from hpc_sr.sentinel2.metadata import Grid
from hpc_sr.sentinel2.radiometry import to_reflectance
from hpc_sr.sentinel2.safe import BandReader, Product
from hpc_sr.tasks import REFLECTANCE_ONE

#: Rows of the JPEG2000 tiles of products, by GSD: what is decoded together.
TILE_ROWS = {10: 1024, 20: 640, 60: 192}


@dataclass(frozen=True)
class Radiometry:
    """reflectance = (DN + offset) / quantification; `nodata` is the DN of pixels without a measurement, if any."""

    offset: float
    quantification: float
    nodata: float | None

    def stored(self, dn: np.ndarray) -> np.ndarray:
        """Return reflectance x 10 000 as float32; missing pixels are not looked at."""
        return to_reflectance(dn, self.offset, self.quantification) * np.float32(REFLECTANCE_ONE)

    def missing(self, dn: np.ndarray) -> np.ndarray:
        """Return where there is no measurement."""
        if dn.dtype.kind == "f":
            return ~np.isfinite(dn) if self.nodata is None else ~np.isfinite(dn) | (dn == self.nodata)
        return np.zeros(dn.shape, bool) if self.nodata is None else dn == self.nodata


class OpenBand(Protocol):
    """One band's file, used by one thread at a time; `strip_rows` are decoded together."""

    @property
    def strip_rows(self) -> int: ...

    def read(self, area: Area) -> np.ndarray:
        """Return the DN (H, W) of an area of the band's own grid."""

    def close(self) -> None: ...


class Image(Protocol):
    """Bands of one place: `grids` by nominal GSD (10, 20, 60), `level` "" where unknown, `provenance` in words.

    `dn_type` is what DN are stored as ("uint16"). `identity` tells this image from any other. `sources` are the files
    or folders that it is read from: no result may be written there.
    """

    name: str
    level: str
    satellite: str
    sensing_time: str
    dn_type: str
    bands: tuple[str, ...]
    grids: dict[int, Grid]
    provenance: dict[str, str]
    identity: dict[str, object]
    sources: tuple[Path, ...]

    def radiometry(self, name: str) -> Radiometry: ...

    def open(self, name: str) -> OpenBand: ...


def read_stored(image: Image, name: str, read: Callable[[Area], np.ndarray], area: Area, reach_px: int) -> np.ndarray:
    """Return a band's stored units (float32) of an area of its own grid, nodata filled up to `reach_px` from what was
    measured. `read` returns DN."""
    law, grid = image.radiometry(name), image.grids[band(name).gsd_m]

    def stored(inside: Area) -> tuple[np.ndarray, np.ndarray]:
        dn = read(inside)
        return law.stored(dn), law.missing(dn)

    return read_filled(stored, area, grid.height, grid.width, reach_px)


def is_utc(text: str) -> bool:
    """Return whether a text is a moment as catalogues write it (RFC 3339): 2024-06-15T10:20:31.024Z."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", text)
    try:
        return found is not None and bool(datetime.fromisoformat(found[1]))
    except ValueError:
        return False


class ProductImage:
    """A product as an image. Saturated pixels keep their value, the best that is known of them."""

    dn_type = "uint16"

    def __init__(self, product: Product):
        self._product = product
        self.name, self.level, self.satellite = product.name, product.level, product.satellite
        self.sensing_time, self.grids, self.provenance = product.sensing_time, product.grids, product.provenance()
        self.bands = tuple(name for name in BANDS if name in product.files)
        sizes = {name: product.source.size(product.files[name]) for name in self.bands}
        self.identity: dict[str, object] = {**self.provenance, "file_bytes": sizes}
        self.sources: tuple[Path, ...] = (Path(product.path),)

    def radiometry(self, name: str) -> Radiometry:
        product = self._product
        return Radiometry(product.radiometric_offset[name], product.quantification_value, product.nodata_dn)

    def open(self, name: str) -> OpenBand:
        return _ProductBand(self._product, name)


class _ProductBand:
    def __init__(self, product: Product, name: str):
        self._reader, self._name = BandReader(product, threads=1), name
        self.strip_rows = TILE_ROWS[band(name).gsd_m]

    def read(self, area: Area) -> np.ndarray:
        return self._reader.dn(self._name, (area.row, area.column, area.height, area.width))

    def close(self) -> None:
        self._reader.__exit__(None, None, None)
