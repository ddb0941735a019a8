"""GeoTIFFs as others write them, and real pixels to put in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import Affine

BANDS = ("B02", "B03", "B04", "B08")
PLACE = {"crs": "EPSG:32633", "transform": Affine(10.0, 0.0, 399960.0, 0.0, -10.0, 6200040.0)}


def moved(right_px: float = 0.0, stretch: float = 1.0) -> Affine:
    """Return the place of an image that lies beside, or whose pixels are larger."""
    return Affine(10.0 * stretch, 0.0, 399960.0 + 10 * right_px, 0.0, -10.0 * stretch, 6200040.0)


def write_tif(
    path: Path,
    values: np.ndarray,
    bands=BANDS,
    scale: float | None = 1e-4,
    offset: float = 0.0,
    nodata: float | None = None,
    **profile: Any,
) -> Path:
    """Write a GeoTIFF with band names and, unless `scale` is None, the tags that turn it into reflectance."""
    count, height, width = values.shape
    shape = {"driver": "GTiff", "dtype": values.dtype, "count": count, "height": height, "width": width}
    with rasterio.open(path, "w", **shape, **{**PLACE, "nodata": nodata, **profile}) as file:
        file.write(values)
        if bands is not None:
            file.descriptions = bands
        if scale is not None:
            file.scales, file.offsets = [scale] * count, [offset] * count
    return path


def real_pixels(shared_data: Path) -> np.ndarray:
    """Return real pixels, more than one window a side: (4, 414, 414) uint16, reflectance x 10 000."""
    return np.ascontiguousarray(np.load(shared_data / "scenes" / "l1c_usa.npz")["d10"].transpose(2, 0, 1))
