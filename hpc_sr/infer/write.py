"""The raw mosaic becomes a GeoTIFF that says what it holds: streamed, compressed by all cores, whole or absent.

A cloud-optimised GeoTIFF has its overviews and directories in front, which only a copy of a finished image can have:
GDAL copies the raw file, described by a VRT, into it. The same pixels give the same bytes: no time is written.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from xml.etree import ElementTree as xml

import rasterio
import rasterio.shutil
from rasterio.crs import CRS
from rasterio.errors import RasterioError

from hpc_sr import __version__
from hpc_sr.errors import OutputError
from hpc_sr.infer.mosaic import Mosaic
from hpc_sr.infer.plan import OutputBand, Plan
from hpc_sr.logs import check_writable, flush_to_disk
from hpc_sr.sentinel2.bands import BANDS

#: The block cache of copying: a row of the result's tiles, read and written, of twelve bands of a full tile.
_CACHE_BYTES = 512 * 2**20
_BLOCK_PX = 512
_COLOURS = {"B02": "Blue", "B03": "Green", "B04": "Red"}
_GDAL_TYPES = {"uint16": "UInt16", "float32": "Float32"}
#: The tag that tells whether an image is the very one that is asked for.
_KEY_TAG = "hpc_sr_key"


def write_geotiff(plan: Plan, mosaic: Mosaic, out: Path) -> None:
    """Write the mosaic as `out`. Raises OutputError; then `out` is as before, and the mosaic still there."""
    partial, described = mosaic.folder / "image.tif", mosaic.folder / "mosaic.vrt"
    options = {
        "COMPRESS": "ZSTD", "BLOCKSIZE": str(_BLOCK_PX), "PREDICTOR": "YES", "NUM_THREADS": "ALL_CPUS",
        "OVERVIEW_RESAMPLING": "AVERAGE", "BIGTIFF": "IF_SAFER",
    }  # fmt: skip
    if plan.options.format == "gtiff":
        options = {
            "COMPRESS": "ZSTD", "TILED": "YES", "BLOCKXSIZE": str(_BLOCK_PX), "BLOCKYSIZE": str(_BLOCK_PX),
            "PREDICTOR": "2" if plan.options.dtype == "uint16" else "3", "INTERLEAVE": "BAND",
            "NUM_THREADS": "ALL_CPUS", "BIGTIFF": "IF_SAFER",
        }  # fmt: skip
    try:
        described.write_text(_vrt(plan, mosaic), encoding="utf-8")
        with rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES):
            driver = "COG" if plan.options.format == "cog" else "GTiff"
            rasterio.shutil.copy(described, partial, driver=driver, **options)
        flush_to_disk(partial)
        partial.replace(out)
    except (RasterioError, OSError) as error:
        raise OutputError(
            f"cannot be written ({error})",
            where=out,
            cure="free disk space, then run again: what is predicted is kept",
        ) from error
    finally:
        for left in mosaic.folder.glob("image.tif*"):
            left.unlink(missing_ok=True)


def is_there(plan: Plan, out: Path) -> bool:
    """Return whether `out` is the image that the plan asks for, finished before.

    Raises OutputError if something else is there and must not be overwritten, or if it cannot be written.
    """
    check_writable(out)
    if not out.exists() or plan.options.overwrite:
        return False
    try:
        with rasterio.open(out) as image:
            if image.tags().get(_KEY_TAG) == plan.digest:
                return True
    except RasterioError:
        pass
    raise OutputError("exists already", where=out, cure="give --overwrite, or another --out")


def check_room(plan: Plan, mosaic: Mosaic, out: Path) -> None:
    """Raise OutputError unless the disk has room for the mosaic and a result as large."""
    begun_bytes = mosaic.raw.stat().st_blocks * 512 if mosaic.raw.exists() else 0
    needed_bytes, free_bytes = max(0, 2 * mosaic.size_bytes - begun_bytes), shutil.disk_usage(out.parent).free
    if free_bytes < needed_bytes:
        raise OutputError(
            f"needs {needed_bytes / 1e9:.1f} GB while it is made, {free_bytes / 1e9:.1f} GB are free", where=out,
            cure="free disk space, or choose a --region or a folder on another disk",
        )  # fmt: skip


def tags_of(plan: Plan) -> dict[str, str]:
    """Return what the image says of its making."""
    sharpened = [output.name for output in plan.bands if output.kind == "sharpened"]
    models = [
        f"{m.card.family} step {m.card.step} degradation {m.card.degradation} level {m.card.level} "
        f"sha256 {m.digest[:16]}" for m in plan.models
    ]  # fmt: skip
    chosen = [name for name in ("ensemble", "spread", "back_project") if getattr(plan.options, name)]
    return {
        **plan.image.provenance, "software": f"hpc_sr {__version__}", "model": "; ".join(models),
        "degradation": " ".join(sorted({m.card.degradation for m in plan.models})),
        "training_step": " ".join(str(m.card.step) for m in plan.models),
        "super_resolved": " ".join(sharpened), "options": " ".join(chosen) or "none",
        "reflectance": "value * scale + offset", _KEY_TAG: plan.digest,
    }  # fmt: skip


def _vrt(plan: Plan, mosaic: Mosaic) -> str:
    """Return the description of the raw file for GDAL: where, what, and every band's meaning."""
    count, height, width = mosaic.shape
    assert count == len(plan.bands)
    item, grid = mosaic.dtype.itemsize, plan.image.grids[10]
    root = xml.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    _add(root, "SRS", CRS.from_string(grid.crs).to_wkt())
    left, top = grid.ulx_m + plan.area.column * grid.gsd_m, grid.uly_m - plan.area.row * grid.gsd_m
    _add(root, "GeoTransform", ", ".join(repr(float(x)) for x in (left, grid.gsd_m, 0, top, 0, -grid.gsd_m)))
    _add_tags(root, tags_of(plan))
    for index, output in enumerate(plan.bands):
        encoding = plan.encodings[output.source]
        band = xml.SubElement(
            root, "VRTRasterBand", dataType=_GDAL_TYPES[plan.options.dtype], band=str(index + 1),
            subClass="VRTRawRasterBand",
        )  # fmt: skip
        _add(band, "Description", output.name)
        _add_tags(band, _band_tags(plan, output))
        _add(band, "NoDataValue", repr(encoding.nodata))
        _add(band, "ColorInterp", _COLOURS.get(output.name, "Undefined"))
        _add(band, "Offset", repr(0.0 if output.kind == "spread" else encoding.offset))
        _add(band, "Scale", repr(encoding.scale))
        _add(band, "SourceFilename", mosaic.raw.name, relativetoVRT="1")
        _add(band, "ImageOffset", str(index * height * width * item))
        _add(band, "PixelOffset", str(item))
        _add(band, "LineOffset", str(width * item))
        _add(band, "ByteOrder", "LSB")
    return xml.tostring(root, encoding="unicode")


def _band_tags(plan: Plan, output: OutputBand) -> dict[str, str]:
    band = BANDS[output.source]
    tags = {"wavelength_nm": str(band.wavelength_nm), "native_gsd_m": str(band.gsd_m), "made": output.kind}
    if output.model is not None:
        tags["model"] = plan.models[output.model].card.family
    return tags


def _add(parent: xml.Element, name: str, text: str, **attributes: str) -> None:
    xml.SubElement(parent, name, attributes).text = text


def _add_tags(parent: xml.Element, tags: dict[str, str]) -> None:
    metadata = xml.SubElement(parent, "Metadata")
    for key, value in tags.items():
        _add(metadata, "MDI", value, key=key)
