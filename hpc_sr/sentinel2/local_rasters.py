"""Opening rasters that somebody gives us: files on this machine's disks, of formats that hold their own pixels.

GDAL opens much more by a mere name or text: a VRT, a catalogue, an address read other files or the network, wherever
they lead.
"""

from __future__ import annotations

import os
from pathlib import Path

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from hpc_sr.disk import is_there, read_file
from hpc_sr.errors import HpcSrError, ImageError

#: What rasterio raises for files that it cannot read or write: errors of its own, and GDAL's as they are.
RASTER_ERRORS = (RasterioError, CPLE_BaseError)

#: How files of GDAL's drivers begin.
_BEGINNINGS = {
    "GTiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "JP2OpenJPEG": (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
}
_NAMES = {"GTiff": "GeoTIFF", "JP2OpenJPEG": "JPEG 2000", "PNG": "PNG", "JPEG": "JPEG"}


def open_local(path: Path, drivers: tuple[str, ...]) -> rasterio.DatasetReader:
    """Return an open raster of one of the drivers.

    Raises ImageError if it is no file of theirs on a local disk; what rasterio.open raises.
    """
    formats = ", ".join(_NAMES[driver] for driver in drivers)
    if not os.path.isfile(path):  # False also of too long a name
        leads_away = str(path).startswith("/vsi") or ":/" in str(path)
        problem = "is no file on a local disk" if leads_away else "is no file" if os.path.exists(path) else "is missing"
        raise ImageError(problem, where=path, cure=f"give a file on this machine: {formats}")
    try:
        beginning = _beginning(path)
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror})", where=path, cure="make it readable") from error
    driver = next((name for name in drivers if _is_of(beginning, name)), None)
    if driver is None:
        raise ImageError(f"cannot be decoded: is no {formats}", where=path, cure="convert it, or fetch it again")
    check_companions(path, ImageError)
    return rasterio.open(path.absolute(), driver=driver)


def check_companions(path: Path, kind: type[HpcSrError]) -> None:
    """Raise `kind` if what GDAL reads beside a file, overviews, a mask and metadata, would lead it elsewhere."""
    for companion in (path.with_name(f"{path.name}{suffix}") for suffix in (".ovr", ".msk", ".aux.xml")):
        if is_there(companion) and not _holds_its_own(companion):
            cure = "remove it; gdaladdo -ro makes overviews anew"
            raise kind("may lead to another file", where=companion, cure=cure)


def _holds_its_own(companion: Path) -> bool:
    if not companion.is_file():
        return False
    try:
        if companion.suffix == ".xml":
            return b"OVERVIEW_FILE" not in read_file(companion, ImageError, "remove it")
        return _is_of(_beginning(companion), "GTiff")
    except (OSError, ImageError):
        return False


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def _is_of(beginning: bytes, driver: str) -> bool:
    return beginning.startswith(_BEGINNINGS[driver])
