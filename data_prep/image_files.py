"""Image files: finding them, telling by name which belong together, reading one. Nothing else here opens them."""

from __future__ import annotations

import glob
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning

from hpc_sr.disk import telling
from hpc_sr.errors import ImageError
from hpc_sr.sentinel2.local_rasters import RASTER_ERRORS, open_local

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
# In a torn file's missing part libjpeg puts grey, and only warns; GDAL's faster PNG decoder leaves old memory there.
_STRICT = {"GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE", "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO"}
_FORMATS = ("PNG", "JPEG", "GTiff")
#: What file names say of an image's part in a pair, as a word of its own: img_001_HR, HR_001, 0001x4.
_ROLE = re.compile(r"(^|[._-])(hr|lr|ref|gt|x[234])(?=[._-]|$)|(?<=\d)x[234]$", re.IGNORECASE)


@dataclass(frozen=True)
class Image:
    """Pixels (C, H, W) int16, 0 where `nodata` (H, W) marks them as no part of the picture; `bits` are 8 or 16."""

    pixels: np.ndarray
    nodata: np.ndarray
    bits: int


def find_images(patterns: tuple[str, ...], key: str) -> list[Path]:
    """Return the images that files, folders (all images in it) and globs name, sorted, once each.

    Raises ImageError naming the pattern that matches none; `key` is where the recipe has it.
    """
    found: set[Path] = set()
    for pattern in patterns:
        path = Path(pattern)
        with telling(pattern, ImageError, "read"):
            candidates = path.iterdir() if path.is_dir() else [path, *map(Path, glob.glob(pattern, recursive=True))]
            images = [image for image in candidates if image.suffix.lower() in SUFFIXES and image.is_file()]
        if not images:
            raise ImageError(f"matches no image ({', '.join(SUFFIXES)})", where=pattern, cure=f"mend {key}")
        found.update(images)
    return sorted(found)


def by_name(images: list[Path], without_role: bool) -> dict[str, Path]:
    """Return the images by file stem; `without_role` takes HR, LR, ref, x4 and the like out of it.

    Raises ImageError if two have one name.
    """
    named: dict[str, Path] = {}
    for image in images:
        name = (_ROLE.sub("", image.stem) or image.stem) if without_role else image.stem
        if name in named:
            raise ImageError(f"has the same name ({name}) as {named[name]}", where=image, cure="rename one of them")
        named[name] = image
    return named


def read_image(path: Path, bands: int) -> Image:
    """Return the image in a PNG, JPEG or GeoTIFF file as `bands` bands; one grey band becomes three equal ones.

    Transparent pixels, and those that the file says are nodata in some band, are marked; alpha is dropped.
    Raises ImageError if it cannot be decoded to its end, has other bands, or holds what int16 cannot.
    """
    try:
        with warnings.catch_warnings(), rasterio.Env(**_STRICT):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with open_local(path, _FORMATS) as dataset:
                indexes = _colours(dataset, path, bands)
                _check_memory(dataset, len(indexes), bands, path)
                pixels = dataset.read(indexes)
                nodata = (dataset.read_masks(indexes) == 0).any(0)
    except (*RASTER_ERRORS, OSError, MemoryError) as error:
        raise ImageError(
            f"cannot be decoded ({error})", where=path, cure="the file is truncated or damaged: fetch it again"
        ) from error
    bits = pixels.dtype.itemsize * 8
    pixels[:, nodata] = 0
    largest = int(pixels.max())
    if largest > np.iinfo(np.int16).max:
        raise ImageError(
            f"holds {largest}, patches hold at most {np.iinfo(np.int16).max}",
            where=path,
            cure="divide all images by the same number, or convert them to 8 bits",
        )
    if len(pixels) < bands:
        pixels = np.repeat(pixels, bands, 0)
    return Image(pixels.astype(np.int16), nodata, bits)


def _check_memory(dataset: rasterio.DatasetReader, read: int, bands: int, path: Path) -> None:
    """Raise ImageError if the image's pixels fill more memory than there is: a small file may announce any size."""
    # What is read, a mask of each band, and all bands as int16.
    needed_bytes = dataset.width * dataset.height * (read * (np.dtype(dataset.dtypes[0]).itemsize + 1) + 2 * bands)
    there_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed_bytes > there_bytes:
        raise ImageError(
            f"is {dataset.width:,} x {dataset.height:,} px, which takes {needed_bytes:,} bytes of memory; "
            f"this machine has {there_bytes:,}",
            where=path,
            cure="cut it into smaller images, or use a machine with more memory",
        )


def _colours(dataset: rasterio.DatasetReader, path: Path, bands: int) -> list[int]:
    """Return the numbers of the bands that are no alpha, having checked that they are what a task can use."""
    kinds = {*dataset.dtypes}
    if kinds not in ({"uint8"}, {"uint16"}):
        raise ImageError(f"holds {', '.join(sorted(kinds))} pixels", where=path, cure="convert it to uint8 or uint16")
    depth = dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", "8")
    if int(depth) < 8:
        raise ImageError(f"holds {depth}-bit pixels", where=path, cure="convert it to 8 bits a band")
    colours = [i for i, kind in enumerate(dataset.colorinterp, 1) if kind != ColorInterp.alpha]
    foreign = {ColorInterp.palette, ColorInterp.cyan} & {*dataset.colorinterp}
    if foreign:
        raise ImageError(f"holds {foreign.pop().name} colours", where=path, cure="convert it to RGB")
    if len(colours) != bands and (len(colours), bands) != (1, 3):
        alpha = " and alpha" if len(colours) < dataset.count else ""
        raise ImageError(
            f"has {len(colours)} bands{alpha}, the task needs {bands}",
            where=path,
            cure="choose the task for its bands (a fourth band must not be marked as alpha)",
        )
    return colours
