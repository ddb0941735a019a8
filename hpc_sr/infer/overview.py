"""How a finished image is shown: which of its bands, in which range of reflectance, and a small picture of it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning

from hpc_sr.infer.finishing import KEY_TAG
from hpc_sr.tasks import COMPOSITES, shown_bands

#: The longer side of the picture.
OVERVIEW_PX = 1024
_PERCENTILES = (2, 98)
#: The range of reflectance that is shown: no less, or noise on water becomes colours; no more, or clouds make the
#: ground dark.
_NARROWEST, _WIDEST = 0.05, 0.35
_DARK_MARGIN = 0.1


@dataclass(frozen=True)
class Look:
    """What is shown: three bands as red, green and blue, or one as grey; reflectance `low` is black, `high` is full.

    Each band begins by its 2nd percentile, so that haze takes no contrast. All reach equally far, over the widest of
    the ranges from 2 to 98 %, so that colours keep their balance. A tenth more at the dark end keeps shadows from
    being black.
    """

    bands: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def title(self) -> str:
        kind = {1: "Grey", 3: "True colour" if self.bands == COMPOSITES[0] else "False colour"}[len(self.bands)]
        return f"{kind}: {', '.join(self.bands)}"


def look_at(image: Path) -> tuple[Look, np.ndarray]:
    """Return how a GeoTIFF of ours is shown, and its picture (H, W, 4): red, green, blue, opacity, uint8.

    The picture has at most 1024 px a side, each the mean of what was measured in it. It is transparent where one of
    its bands is nodata. Raises what rasterio does (RASTER_ERRORS) if the image cannot be read.
    """
    with rasterio.open(image) as tif:
        names = tuple(tif.descriptions)
        bands = shown_bands(names)
        indexes = [names.index(band) + 1 for band in bands]
        step = max(1.0, max(tif.shape) / OVERVIEW_PX)
        shape = tuple(max(1, round(side / step)) for side in tif.shape)
        stored = tif.read(indexes, out_shape=(len(bands), *shape), masked=True, resampling=Resampling.average)
        scale, offset = (np.array(law)[[i - 1 for i in indexes], None, None] for law in (tif.scales, tif.offsets))
    measured = ~np.logical_or.reduce(np.ma.getmaskarray(stored))
    reflectance = np.where(measured, stored.data * scale + offset, 0.0)
    look = _look(bands, reflectance[:, measured])
    low, high = (np.array(edge)[:, None, None] for edge in (look.low, look.high))
    colours = np.rint(((reflectance - low) / (high - low)).clip(0, 1) * 255 * measured)
    opacity = 255 * measured[None]
    picture = np.concatenate([colours if len(bands) == 3 else np.repeat(colours, 3, axis=0), opacity])
    return look, picture.astype(np.uint8).transpose(1, 2, 0)


def _look(bands: tuple[str, ...], reflectance_CN: np.ndarray) -> Look:
    if not reflectance_CN.size:
        return Look(bands, (0.0,) * len(bands), (_WIDEST,) * len(bands))
    low, high = np.percentile(reflectance_CN, _PERCENTILES, axis=1)
    reach = float(np.clip((high - low).max(), _NARROWEST, _WIDEST))
    starts = low - _DARK_MARGIN * reach
    return Look(bands, tuple(round(float(v), 4) for v in starts), tuple(round(float(v) + reach, 4) for v in low))


def png_of(picture_HWC: np.ndarray, digest: str) -> bytes:
    """Return a picture as a PNG that tells the digest of its image."""
    height, width, count = picture_HWC.shape
    form = {"driver": "PNG", "height": height, "width": width, "count": count, "dtype": "uint8"}
    with warnings.catch_warnings(), rasterio.MemoryFile() as file:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with file.open(**form, WRITE_METADATA_AS_TEXT="YES") as png:
            png.update_tags(**{KEY_TAG: digest})
            png.write(picture_HWC.transpose(2, 0, 1))
        return bytes(file.read())
