"""Opening rasters that somebody gives us: files on this machine's disks, of formats that hold their own pixels.

GDAL opens much more by a mere name or text: a VRT, a catalogue, an address read other files or the network, wherever
they lead.
"""

from __future__ import annotations

from pathlib import Path

import rasterio

from hpc_sr.errors import ImageError

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
    if not path.is_file():
        leads_away = str(path).startswith("/vsi") or ":/" in str(path)
        problem = "is no file on a local disk" if leads_away else "is no file" if path.exists() else "is missing"
        raise ImageError(problem, where=path, cure=f"give a file on this machine: {formats}")
    try:
        with path.open("rb") as file:
            beginning = file.read(16)
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror})", where=path, cure="make it readable") from error
    driver = next((name for name in drivers if beginning.startswith(_BEGINNINGS[name])), None)
    if driver is None:
        raise ImageError("is a file of another kind, or damaged", where=path, cure=f"give one of these: {formats}")
    return rasterio.open(path.absolute(), driver=driver)
