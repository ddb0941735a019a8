"""A finished mosaic of a picture becomes a GeoTIFF or a PNG: streamed from the raw file, whole or absent."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as xml

import rasterio
import rasterio.shutil
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.transform import Affine

from hpc_sr.errors import OutputError
from hpc_sr.infer.mosaic import Mosaic
from hpc_sr.infer.pictures import Picture
from hpc_sr.logs import check_writable, flush_to_disk

_CACHE_BYTES = 256 * 2**20
#: What turns the copy of a VRT into the file: a block size where it has one, all cores, text where it holds tags.
_OPTIONS = {
    "COG": {"COMPRESS": "ZSTD", "PREDICTOR": "YES", "BLOCKSIZE": "512", "OVERVIEW_RESAMPLING": "AVERAGE",
            "NUM_THREADS": "ALL_CPUS", "BIGTIFF": "IF_SAFER"},
    "GTiff": {"COMPRESS": "ZSTD", "PREDICTOR": "2", "TILED": "YES", "BLOCKXSIZE": "512", "BLOCKYSIZE": "512",
              "NUM_THREADS": "ALL_CPUS", "BIGTIFF": "IF_SAFER"},
    "PNG": {"WRITE_METADATA_AS_TEXT": "YES"},
}  # fmt: skip
_GDAL_TYPES = {"uint8": "Byte", "uint16": "UInt16"}
_COLOURS = {"R": "Red", "G": "Green", "B": "Blue", "N": "NIR"}
#: The tag that tells whether a file is the very one that is asked for.
_KEY_TAG = "hpc_sr_key"


@dataclass(frozen=True)
class Target:
    """The file to be made: of a picture, `scale` times finer, by a driver of GDAL; `digest` decides its pixels."""

    path: Path
    picture: Picture
    scale: int
    driver: str
    tags: dict[str, str]
    digest: str

    @property
    def shape(self) -> tuple[int, int, int]:
        picture = self.picture
        count = len(picture.bands) + picture.transparent
        return count, picture.height * self.scale, picture.width * self.scale

    def is_there(self, overwrite: bool) -> bool:
        """Return whether the file was finished before. Raises OutputError if something else is there."""
        check_writable(self.path)
        if not self.path.exists() or overwrite:
            return False
        try:
            with warnings.catch_warnings(), rasterio.open(self.path) as image:
                if image.tags().get(_KEY_TAG) == self.digest:
                    return True
        except RasterioError:
            pass
        raise OutputError("exists already", where=self.path, cure="give --overwrite, or another --out")

    def check_room(self, mosaic: Mosaic) -> None:
        """Raise OutputError unless the disk has room for the mosaic and a result as large."""
        begun = mosaic.raw.stat().st_blocks * 512 if mosaic.raw.exists() else 0
        needed, free = max(0, 2 * mosaic.size_bytes - begun), shutil.disk_usage(self.path.parent).free
        if free < needed:
            raise OutputError(
                f"needs {needed / 1e9:.1f} GB while it is made, {free / 1e9:.1f} GB are free", where=self.path,
                cure="free disk space, or give a folder on another disk",
            )  # fmt: skip

    def write(self, mosaic: Mosaic) -> None:
        """Write the mosaic as the file. Raises OutputError: then the path is as before and the mosaic there."""
        partial, described = mosaic.folder / f"image{self.path.suffix}", mosaic.folder / "mosaic.vrt"
        try:
            described.write_text(self._vrt(mosaic), encoding="utf-8")
            with warnings.catch_warnings(), rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES, GDAL_PAM_ENABLED="NO"):
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                rasterio.shutil.copy(described, partial, driver=self.driver, **_OPTIONS[self.driver])
            flush_to_disk(partial)
            partial.replace(self.path)
        except (RasterioError, OSError) as error:
            raise OutputError(
                f"cannot be written ({error})", where=self.path,
                cure="free disk space, then run again: what is predicted is kept",
            ) from error  # fmt: skip
        finally:
            partial.unlink(missing_ok=True)

    def _vrt(self, mosaic: Mosaic) -> str:
        """Return the description of the raw file for GDAL."""
        picture, (count, height, width) = self.picture, mosaic.shape
        item = mosaic.dtype.itemsize
        root = xml.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
        if picture.crs is not None:
            if picture.crs:
                _add(root, "SRS", picture.crs)
            place, s = picture.transform, self.scale
            geo = Affine(place.a / s, place.b / s, place.c, place.d / s, place.e / s, place.f).to_gdal()
            _add(root, "GeoTransform", ", ".join(repr(float(number)) for number in geo))
        tags = xml.SubElement(root, "Metadata")
        for key, value in {**picture.tags, **self.tags, _KEY_TAG: self.digest}.items():
            _add(tags, "MDI", value, key=key)
        for index in range(count):
            band = xml.SubElement(
                root, "VRTRasterBand", dataType=_GDAL_TYPES[picture.dtype], band=str(index + 1),
                subClass="VRTRawRasterBand",
            )  # fmt: skip
            if index == len(picture.bands):
                _add(band, "ColorInterp", "Alpha")
            else:
                self._describe(band, index)
            _add(band, "SourceFilename", mosaic.raw.name, relativetoVRT="1")
            _add(band, "ImageOffset", str(index * height * width * item))
            _add(band, "PixelOffset", str(item))
            _add(band, "LineOffset", str(width * item))
            _add(band, "ByteOrder", "LSB")
        return xml.tostring(root, encoding="unicode")

    def _describe(self, band: xml.Element, index: int) -> None:
        picture, coding = self.picture, self.picture.codings[index]
        _add(band, "ColorInterp", _COLOURS[picture.colours[index]])
        if self.driver == "PNG":
            return  # holds no more
        _add(band, "Description", picture.bands[index])
        if picture.nodata is not None:
            _add(band, "NoDataValue", repr(picture.nodata))
        if (coding.scale, coding.offset) != (1.0, 0.0):
            _add(band, "Offset", repr(coding.offset))
            _add(band, "Scale", repr(coding.scale))


def driver_of(path: Path, picture: Picture, geotiff: str) -> str:
    """Return GDAL's driver for a result: PNG by its name, else `geotiff`, "COG" or "GTiff".

    Raises OutputError for other names, and where a PNG would lose bands, georeference or nodata.
    """
    suffix = path.suffix.lower()
    if suffix in (".tif", ".tiff"):
        return geotiff
    if suffix != ".png":
        raise OutputError("is no GeoTIFF and no PNG by its name", where=path, cure="give --out FILE.tif or FILE.png")
    lost = lost_in_png(picture)
    if lost:
        raise OutputError(f"cannot hold {' and '.join(lost)}", where=path, cure="give --out FILE.tif")
    return "PNG"


def lost_in_png(picture: Picture) -> list[str]:
    """Return what of a picture's result a PNG cannot hold, in words."""
    return [
        what for what, is_lost in (
            ("its georeference", picture.crs is not None), ("its nodata", picture.nodata is not None),
            (f"{len(picture.bands)} bands", len(picture.bands) != 3),
            ("its scale and offset", any((c.scale, c.offset) != (1.0, 0.0) for c in picture.codings)),
        ) if is_lost
    ]  # fmt: skip


def _add(parent: xml.Element, name: str, text: str, **attributes: str) -> None:
    xml.SubElement(parent, name, attributes).text = text
