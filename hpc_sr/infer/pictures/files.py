"""A finished mosaic of a picture becomes a GeoTIFF or a PNG: streamed from the raw file, whole or absent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as xml

from rasterio.transform import Affine

from hpc_sr.errors import OutputError
from hpc_sr.infer.finishing import GEOTIFF_SUFFIXES, KEY_TAG, add, add_tags, copy_mosaic, raw_band
from hpc_sr.infer.mosaic import Mosaic
from hpc_sr.infer.pictures.reading import Picture

_CACHE_BYTES = 256 * 2**20
#: What turns the copy of a VRT into the file: a block size where it has one, all cores, text where it holds tags.
_OPTIONS = {
    "COG": {
        "COMPRESS": "ZSTD",
        "PREDICTOR": "YES",
        "BLOCKSIZE": "512",
        "OVERVIEW_RESAMPLING": "AVERAGE",
        "NUM_THREADS": "ALL_CPUS",
        "BIGTIFF": "IF_SAFER",
    },
    "GTiff": {
        "COMPRESS": "ZSTD",
        "PREDICTOR": "2",
        "TILED": "YES",
        "BLOCKXSIZE": "512",
        "BLOCKYSIZE": "512",
        "NUM_THREADS": "ALL_CPUS",
        "BIGTIFF": "IF_SAFER",
    },
    "PNG": {"WRITE_METADATA_AS_TEXT": "YES"},
}
_GDAL_TYPES = {"uint8": "Byte", "uint16": "UInt16"}
_COLOURS = {"R": "Red", "G": "Green", "B": "Blue", "N": "NIR"}


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

    def write(self, mosaic: Mosaic) -> None:
        """Write the mosaic as the file. Raises OutputError: then the path is as before and the mosaic there."""
        settings = {"GDAL_CACHEMAX": _CACHE_BYTES, "GDAL_PAM_ENABLED": "NO"}
        copy_mosaic(mosaic, self._vrt(mosaic), self.path, self.driver, _OPTIONS[self.driver], **settings)

    def _vrt(self, mosaic: Mosaic) -> str:
        """Return the description of the raw file for GDAL."""
        picture, (count, height, width) = self.picture, mosaic.shape
        root = xml.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
        if picture.crs is not None:
            if picture.crs:
                add(root, "SRS", picture.crs)
            place, s = picture.transform, self.scale
            geo = Affine(place.a / s, place.b / s, place.c, place.d / s, place.e / s, place.f).to_gdal()
            add(root, "GeoTransform", ", ".join(repr(float(number)) for number in geo))
        add_tags(root, {**picture.tags, **self.tags, KEY_TAG: self.digest})
        for index in range(count):
            band = raw_band(root, mosaic, index, _GDAL_TYPES[picture.dtype])
            if index == len(picture.bands):
                add(band, "ColorInterp", "Alpha")
            else:
                self._describe(band, index)
        return xml.tostring(root, encoding="unicode")

    def _describe(self, band: xml.Element, index: int) -> None:
        picture, coding = self.picture, self.picture.codings[index]
        add(band, "ColorInterp", _COLOURS[picture.colours[index]])
        if self.driver == "PNG":
            return  # holds no more
        add(band, "Description", picture.bands[index])
        if picture.nodata is not None:
            add(band, "NoDataValue", repr(picture.nodata))
        if (coding.scale, coding.offset) != (1.0, 0.0):
            add(band, "Offset", repr(coding.offset))
            add(band, "Scale", repr(coding.scale))


def driver_of(path: Path, picture: Picture, geotiff: str) -> str:
    """Return GDAL's driver for a result: PNG by its name, else `geotiff`, "COG" or "GTiff".

    Raises OutputError for other names, and where a PNG would lose bands, georeference or nodata.
    """
    suffix = path.suffix.lower()
    if suffix in GEOTIFF_SUFFIXES:
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
        what
        for what, is_lost in (
            ("its georeference", picture.crs is not None),
            ("its nodata", picture.nodata is not None),
            (f"{len(picture.bands)} bands", len(picture.bands) != 3),
            ("its scale and offset", any((c.scale, c.offset) != (1.0, 0.0) for c in picture.codings)),
        )
        if is_lost
    ]
