"""A raw mosaic becomes the file that was asked for: GDAL copies it, described by a VRT, whole or not at all.

A cloud-optimised GeoTIFF has its overviews and directories in front, which only a copy of a finished image can have.
The same pixels give the same bytes: no time is written.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as xml

import rasterio
import rasterio.shutil
from rasterio.errors import NotGeoreferencedWarning

from hpc_sr.disk import check_path, check_writable, flush_to_disk
from hpc_sr.errors import HpcSrError, ImageError, OutputError
from hpc_sr.infer.mosaic import Mosaic
from hpc_sr.logs import logger
from hpc_sr.sentinel2.local_rasters import RASTER_ERRORS, open_local

#: The tag that tells whether a file is the very one that is asked for.
KEY_TAG = "hpc_sr_key"
#: What a GeoTIFF's name ends with.
GEOTIFF_SUFFIXES = (".tif", ".tiff")


def final_path(out: Path) -> Path:
    """Return the file that is to be written: a link stays, what it leads to is replaced."""
    return Path(os.path.realpath(out)) if out.is_symlink() else out


def check_apart(out: Path, sources: Iterable[Path], beside: Iterable[Path] = ()) -> None:
    """Raise OutputError if a result, or what is beside it, would be written over what it is made from, or into it."""
    for path in (out, *beside):
        check_path(path)
        real = path.resolve()
        for source in (*sources, *(folder for folder in (real, *real.parents) if folder.suffix.upper() == ".SAFE")):
            original = source.resolve()
            same = original == real or (path.exists() and source.exists() and path.samefile(source))
            if same or original in real.parents:
                raise OutputError(
                    f"would be written {'over' if same else 'into'} {source}, which is read",
                    where=path,
                    cure="give --out another place",
                )


@contextmanager
def keeping(image: Path, what: str) -> Iterator[None]:
    """Turn whatever fails once an image is there into OutputError: the image stays, what comes after is missing."""
    try:
        yield
    # Whatever it is, the image is worth more, and its maker has to hear of it.
    except Exception as error:
        found = error.finding if isinstance(error, HpcSrError) else f"{type(error).__name__}: {error}"
        raise OutputError(
            f"is finished, but {what} failed ({found})",
            where=image,
            cure="mend that, then run again: the image is kept",
        ) from error


def is_finished(mosaic: Mosaic, path: Path, digest: str, overwrite: bool) -> bool:
    """Return whether the file of this digest is there, finished before.

    If so, what is left of its mosaic is removed, unless another command holds it.
    Raises OutputError if something else is there and must not be overwritten, or if it cannot be written.
    """
    check_writable(path)
    if not path.exists() or overwrite:
        return False
    try:
        with warnings.catch_warnings(), open_local(path, ("GTiff", "PNG")) as image:
            found = image.tags().get(KEY_TAG)
    except (*RASTER_ERRORS, ImageError):
        found = None
    if found != digest:
        raise OutputError("exists already", where=path, cure="give --overwrite, or another --out")
    mosaic.remove_leftover()
    logger.info("%s is there", path)
    return True


def check_room(mosaic: Mosaic, path: Path, cure: str) -> None:
    """Raise OutputError unless the disk has room for the mosaic and a result as large."""
    begun_bytes = mosaic.raw.stat().st_blocks * 512 if mosaic.raw.exists() else 0
    needed_bytes, free_bytes = max(0, 2 * mosaic.size_bytes - begun_bytes), shutil.disk_usage(path.parent).free
    if free_bytes < needed_bytes:
        raise OutputError(
            f"needs {_amount(needed_bytes)} while it is made, {_amount(free_bytes)} are free", where=path, cure=cure
        )


def _amount(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"


def copy_mosaic(
    mosaic: Mosaic, vrt: str, path: Path, driver: str, options: dict[str, str], **environment: object
) -> None:
    """Write the mosaic, described by the text of a VRT, as `path`, by a driver of GDAL and its creation options.

    `environment` are GDAL's own settings. Raises OutputError; then `path` is as before, and the mosaic still there.
    """
    partial, described = mosaic.folder / f"image{path.suffix}", mosaic.folder / "mosaic.vrt"
    try:
        described.write_text(vrt, encoding="utf-8")
        with warnings.catch_warnings(), rasterio.Env(**environment):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            rasterio.shutil.copy(described, partial, driver=driver, **options)
        flush_to_disk(partial)
        partial.replace(path)
    except (*RASTER_ERRORS, OSError) as error:
        raise OutputError(
            f"cannot be written ({error})",
            where=path,
            cure="free disk space, then run again: what is predicted is kept",
        ) from error
    finally:
        for left in mosaic.folder.glob(f"{partial.name}*"):
            left.unlink(missing_ok=True)


def raw_band(root: xml.Element, mosaic: Mosaic, index: int, data_type: str) -> xml.Element:
    """Return a new band of a VRT, counted from 0: where its numbers lie in the mosaic."""
    _, height, width = mosaic.shape
    item = mosaic.dtype.itemsize
    band = xml.SubElement(root, "VRTRasterBand", dataType=data_type, band=str(index + 1), subClass="VRTRawRasterBand")
    add(band, "SourceFilename", mosaic.raw.name, relativetoVRT="1")
    add(band, "ImageOffset", str(index * height * width * item))
    add(band, "PixelOffset", str(item))
    add(band, "LineOffset", str(width * item))
    add(band, "ByteOrder", "LSB")
    return band


def add(parent: xml.Element, name: str, text: str, **attributes: str) -> None:
    """Add an element with a text."""
    xml.SubElement(parent, name, attributes).text = text


def add_tags(parent: xml.Element, tags: dict[str, str], **domain: str) -> None:
    """Add GDAL's metadata, of a domain if one is given."""
    metadata = xml.SubElement(parent, "Metadata", domain)
    for key, value in tags.items():
        add(metadata, "MDI", value, key=key)
