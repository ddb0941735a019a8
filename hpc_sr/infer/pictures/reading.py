"""Pictures to be up-scaled: bands of one grid, read row by row, with what their numbers mean to the network.

Image files are PNG, JPEG or GeoTIFF of 8 or 16 bits. The network gets what it got in training: 8 and 16 bits as
they stand, reflectance x 10 000 where it was trained on that. Bands are put in the network's order by their
descriptions, else by their colour interpretation, else they are in that order already. Transparent pixels and nodata
are carried over.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine
from rasterio.windows import Window

from hpc_sr.errors import ImageError
from hpc_sr.infer.windows import Area
from hpc_sr.logs import logger
from hpc_sr.sentinel2.local_rasters import RASTER_ERRORS, open_local
from hpc_sr.tasks import REFLECTANCE_ONE

#: Returns rows first .. last of a picture: (C, rows, W) float32 in stored units; (rows, W) uint8 opacity, 0 missing.
ReadRows = Callable[[int, int], tuple[np.ndarray, np.ndarray]]

REFLECTANCE_UNITS = f"reflectance x {REFLECTANCE_ONE}"
# In a torn file's missing part libjpeg puts grey, and only warns; GDAL's faster PNG decoder leaves old memory there.
_STRICT = {"GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE", "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO"}
_DRIVERS = ("PNG", "JPEG", "GTiff")
#: A PNG or a JPEG may have to be decoded whole (interlaced, progressive): 4 GB of four bands of 16 bits.
_MOST_PX = 2**29
_BITS = {"uint8": "8 bit", "uint16": "16 bit"}
#: What files call the bands R, G, B, N.
_NAMES = {
    "R": ("r", "red", "b04", "b4"),
    "G": ("g", "green", "b03", "b3"),
    "B": ("b", "blue", "b02", "b2"),
    "N": ("n", "nir", "b08", "b8"),
}
_COLOURS = {"R": ColorInterp.red, "G": ColorInterp.green, "B": ColorInterp.blue, "N": ColorInterp.nir}
_UNUSABLE = {ColorInterp.palette, ColorInterp.cyan, ColorInterp.magenta, ColorInterp.yellow, ColorInterp.black}


@dataclass(frozen=True)
class Coding:
    """One band's numbers in a file: stored units = value * gain + bias; reflectance = value * scale + offset."""

    gain: float = 1.0
    bias: float = 0.0
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Picture:
    """A picture and how its result is written: bands, number type, georeference, and what marks missing pixels.

    `colours` (R, G, B, N) and `bands`, their descriptions, are in the network's order. `crs` is None without
    georeference. Missing pixels have the value `nodata`, or opacity 0 where the result is `transparent`. `open` gives
    the rows; use it as a context manager.
    `identity` tells the picture from any other. No result may be written over `source`, or into it.
    """

    name: str
    height: int
    width: int
    colours: tuple[str, ...]
    bands: tuple[str, ...]
    codings: tuple[Coding, ...]
    dtype: str
    nodata: float | None
    transparent: bool
    crs: str | None
    transform: Affine
    tags: dict[str, str]
    identity: dict[str, object]
    source: Path
    open: Callable[[], AbstractContextManager[ReadRows]]

    def encode(self, stored_CHW: np.ndarray, opacity_HW: np.ndarray) -> np.ndarray:
        """Return the file's numbers of predicted bands, rounded and clipped, with opacity as last band if any."""
        info = np.iinfo(self.dtype)
        missing = opacity_HW == 0
        planes = []
        for stored, coding in zip(stored_CHW, self.codings, strict=True):
            values = np.clip(np.rint((stored - coding.bias) / coding.gain), info.min, info.max).astype(self.dtype)
            if self.nodata is not None:  # a predicted pixel is never nodata by chance
                values[values == self.nodata] += 1 if self.nodata < info.max else -1
            values[missing] = 0 if self.nodata is None else self.nodata
            planes.append(values)
        if self.transparent:
            # Opacity is always 8 bits here; a 16-bit picture's fills its own range.
            planes.append(opacity_HW.astype(self.dtype) * (info.max // 255))
        return np.stack(planes)


class RowCache:
    """The rows of a picture that tiles in flight look at; tiles come in rows, top down, each row is read once.

    Memory: a row of tiles with its margins, of the whole width.
    """

    def __init__(self, read_rows: ReadRows, picture: Picture):
        self._read_rows, self._picture, self._top = read_rows, picture, 0
        self._values = np.empty((len(picture.bands), 0, picture.width), np.float32)
        self._opacity = np.empty((0, picture.width), np.uint8)

    def read(self, area: Area) -> tuple[np.ndarray, np.ndarray]:
        """Return the values (C, H, W) and opacity (H, W) of an area inside the picture."""
        bottom = area.row + area.height
        have = self._top + len(self._opacity)
        if area.row < self._top or area.row > have:
            self._top, have = area.row, area.row
            self._values, self._opacity = self._values[:, :0], self._opacity[:0]
        if bottom > have:
            values, opacity = self._read_rows(have, bottom)
            self._values = np.concatenate([self._values, values], 1)
            self._opacity = np.concatenate([self._opacity, opacity])
        rows, columns = slice(area.row - self._top, bottom - self._top), area.slices[1]
        return self._values[:, rows, columns], self._opacity[rows, columns]

    def forget_above(self, row: int) -> None:
        """Drop rows that no tile to come looks at."""
        spare = min(row - self._top, len(self._opacity))
        if spare > 0:
            self._top += spare
            self._values, self._opacity = self._values[:, spare:].copy(), self._opacity[spare:].copy()


def open_picture(path: Path, bands: tuple[str, ...], trained_units: str | None) -> Picture:
    """Return the picture in a file, for a network of these bands (R, G, B, N) that was trained on `trained_units`.

    Units are those of a store: "8 bit", "16 bit" or "reflectance x 10000"; None where nobody knows: the file's own
    are taken. Grey images become three equal bands, as in training. Raises ImageError for what is no such file on a
    local disk, cannot be decoded, is too large to be decoded in parts, has other bands, palettes, or numbers that the
    network never saw.
    """
    with _opened(path) as dataset:
        indexes = _indexes(dataset, path, bands)
        codings = tuple(_coding(dataset, path, index, trained_units) for index in indexes)
        flags = {flag for index in indexes for flag in dataset.mask_flag_enums[index - 1]}
        nodata = dataset.nodatavals[indexes[0] - 1] if MaskFlags.nodata in flags else None
        if nodata not in range(np.iinfo(dataset.dtypes[0]).max + 1):
            nodata = None  # a value that no pixel can have
        geolocated = dataset.crs is not None or not dataset.transform.is_identity
        stamp = path.stat()
        return Picture(
            path.stem,
            dataset.height,
            dataset.width,
            bands,
            tuple(dataset.descriptions[index - 1] or name for index, name in zip(indexes, bands, strict=True)),
            codings,
            dataset.dtypes[0],
            nodata,
            nodata is None and flags != {MaskFlags.all_valid},
            dataset.crs.to_wkt() if dataset.crs else "" if geolocated else None,
            dataset.transform,
            {"source": path.name},
            {"file": path.name, "bytes": stamp.st_size, "mtime_ns": stamp.st_mtime_ns, "bands": indexes},
            path,
            lambda: _rows(path, indexes, codings),
        )


@contextmanager
def _opened(path: Path) -> Iterator[rasterio.DatasetReader]:
    with warnings.catch_warnings(), rasterio.Env(**_STRICT):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with _decoding(path):
            dataset = open_local(path, _DRIVERS)
        with dataset:
            if dataset.driver != "GTiff" and dataset.width * dataset.height > _MOST_PX:
                raise ImageError(
                    f"is {dataset.height} x {dataset.width} px, a {dataset.driver} is read up to {_MOST_PX} px",
                    where=path,
                    cure="convert it to a GeoTIFF in tiles: gdal_translate -co TILED=YES IN OUT.tif",
                )
            yield dataset


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    try:
        yield
    except RASTER_ERRORS as error:
        cure = "the file is truncated or damaged: fetch it again"
        raise ImageError(f"cannot be decoded ({error})", where=path, cure=cure) from error


@contextmanager
def _rows(path: Path, indexes: list[int], codings: tuple[Coding, ...]) -> Iterator[ReadRows]:
    with _opened(path) as dataset:
        gain = np.array([coding.gain for coding in codings], np.float32)[:, None, None]
        bias = np.array([coding.bias for coding in codings], np.float32)[:, None, None]

        def read(first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
            window = Window(0, first, dataset.width, last - first)
            with _decoding(path):
                values = dataset.read(indexes, window=window).astype(np.float32) * gain + bias
                return values, dataset.read_masks(indexes, window=window).min(0)

        yield read


def _indexes(dataset: rasterio.DatasetReader, path: Path, bands: tuple[str, ...]) -> list[int]:
    """Return the file's band numbers of the task's bands, having checked that they are what a network can use."""
    if {*dataset.dtypes} not in ({"uint8"}, {"uint16"}):
        raise ImageError(
            f"holds {', '.join(sorted({*dataset.dtypes}))} pixels", where=path, cure="convert it to uint8 or uint16"
        )
    if int(dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", "8")) < 8:
        raise ImageError("holds pixels of less than 8 bits", where=path, cure="convert it to 8 bits a band")
    foreign = _UNUSABLE & {*dataset.colorinterp}
    if foreign:
        raise ImageError(f"holds {min(kind.name for kind in foreign)} colours", where=path, cure="convert it to RGB")
    colours = [index for index, kind in enumerate(dataset.colorinterp, 1) if kind != ColorInterp.alpha]
    named = {(text or "").strip().lower(): index for index, text in enumerate(dataset.descriptions, 1)}
    by_name = [next((named[word] for word in _NAMES[band] if word in named), None) for band in bands]
    if None not in by_name:
        return [index for index in by_name if index is not None]
    if len(colours) == 1 and len(bands) == 3:
        logger.warning("%s is grey: its one band is taken for all three", path)
        return colours * 3
    if len(colours) != len(bands):
        alpha = " and alpha" if len(colours) < dataset.count else ""
        raise ImageError(
            f"has {len(colours)} bands{alpha}, the model needs {', '.join(bands)}",
            where=path,
            cure="give a picture of these bands, or describe them (a fourth band must not be marked as alpha)",
        )
    kinds = {kind: index for index, kind in enumerate(dataset.colorinterp, 1)}
    placed = {band: kinds[_COLOURS[band]] for band in bands if _COLOURS[band] in kinds}
    if len(placed) >= 3:  # a file says which is red, green and blue: what is left is near infrared
        left = iter(index for index in colours if index not in placed.values())
        return [placed[band] if band in placed else next(left) for band in bands]
    return colours


def _coding(dataset: rasterio.DatasetReader, path: Path, index: int, trained_units: str | None) -> Coding:
    """Return what a band's numbers mean. Raises ImageError where the network was trained on something else."""
    scale, offset, bits = dataset.scales[index - 1], dataset.offsets[index - 1], _BITS[dataset.dtypes[index - 1]]
    if trained_units == REFLECTANCE_UNITS:
        if (scale, offset) == (1.0, 0.0):
            raise ImageError(
                f"holds {bits} numbers without scale and offset, the model was trained on reflectance",
                where=path,
                cure="give a GeoTIFF whose scale and offset turn its numbers into reflectance",
            )
        return Coding(scale * REFLECTANCE_ONE, offset * REFLECTANCE_ONE, scale, offset)
    if trained_units not in (None, bits):
        raise ImageError(
            f"holds {bits} numbers, the model was trained on {trained_units}",
            where=path,
            cure=f"convert it to {trained_units}, or use a model trained on {bits} images",
        )
    return Coding(scale=scale, offset=offset)
