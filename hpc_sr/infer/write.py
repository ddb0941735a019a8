"""The raw mosaic of a product becomes a GeoTIFF that says what it holds, compressed by all cores."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as xml

from rasterio.crs import CRS

from hpc_sr import __version__
from hpc_sr.infer.finishing import KEY_TAG, add, add_tags, copy_mosaic, raw_band
from hpc_sr.infer.mosaic import Mosaic
from hpc_sr.infer.plan import OutputBand, Plan
from hpc_sr.sentinel2.bands import BANDS

#: The block cache of copying: a row of the result's tiles, read and written, of twelve bands of a full tile.
_CACHE_BYTES = 512 * 2**20
_BLOCK_PX = 512
#: GDAL's own, 9, takes four to five times the processor time to write an image, for files that are a tenth smaller.
_ZSTD_LEVEL = "1"
#: What GDAL calls each band, by its wavelength; readers before 3.10 know only the visible ones, and see no colour.
_COLOURS = {
    "B01": "Coastal",
    "B02": "Blue",
    "B03": "Green",
    "B04": "Red",
    "B05": "RedEdge",
    "B06": "RedEdge",
    "B07": "RedEdge",
    "B08": "NIR",
    "B8A": "NIR",
    "B09": "NIR",
    "B11": "SWIR",
    "B12": "SWIR",
}
_GDAL_TYPES = {"uint16": "UInt16", "float32": "Float32"}


def write_geotiff(plan: Plan, mosaic: Mosaic, out: Path) -> None:
    """Write the mosaic as `out`. Raises OutputError; then `out` is as before, and the mosaic still there."""
    driver, options = (
        "COG",
        {
            "COMPRESS": "ZSTD",
            "LEVEL": _ZSTD_LEVEL,
            "BLOCKSIZE": str(_BLOCK_PX),
            "PREDICTOR": "YES",
            "NUM_THREADS": "ALL_CPUS",
            "OVERVIEW_RESAMPLING": "AVERAGE",
            "BIGTIFF": "IF_SAFER",
        },
    )
    if plan.options.format == "gtiff":
        driver, options = (
            "GTiff",
            {
                "COMPRESS": "ZSTD",
                "ZSTD_LEVEL": _ZSTD_LEVEL,
                "TILED": "YES",
                "BLOCKXSIZE": str(_BLOCK_PX),
                "BLOCKYSIZE": str(_BLOCK_PX),
                "PREDICTOR": "2" if plan.options.dtype == "uint16" else "3",
                "INTERLEAVE": "BAND",
                "NUM_THREADS": "ALL_CPUS",
                "BIGTIFF": "IF_SAFER",
            },
        )
    copy_mosaic(mosaic, _vrt(plan, mosaic), out, driver, options, GDAL_CACHEMAX=_CACHE_BYTES)


def tags_of(plan: Plan) -> dict[str, str]:
    """Return what the image says of its making."""
    sharpened = [output.name for output in plan.bands if output.kind == "sharpened"]
    steps = [str(model.step) for model in plan.models if model.step is not None]
    chosen = [name for name in ("ensemble", "spread", "back_project") if getattr(plan.options, name)]
    return {
        **plan.image.provenance,
        "software": f"hpc_sr {__version__}",
        "model": "; ".join(dict.fromkeys(model.told for model in plan.models)),
        "degradation": " ".join(sorted({model.degradation for model in plan.models})),
        **({"training_step": " ".join(steps)} if steps else {}),
        "super_resolved": " ".join(sharpened),
        "options": " ".join(chosen) or "none",
        "reflectance": "value * scale + offset",
        KEY_TAG: plan.digest,
    }


def _vrt(plan: Plan, mosaic: Mosaic) -> str:
    """Return the description of the raw file for GDAL: where, what, and every band's meaning."""
    count, height, width = mosaic.shape
    assert count == len(plan.bands)
    grid = plan.image.grids[10]
    root = xml.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    add(root, "SRS", CRS.from_string(grid.crs).to_wkt())
    left, top = grid.ulx_m + plan.area.column * grid.gsd_m, grid.uly_m - plan.area.row * grid.gsd_m
    add(root, "GeoTransform", ", ".join(repr(float(x)) for x in (left, grid.gsd_m, 0, top, 0, -grid.gsd_m)))
    add_tags(root, tags_of(plan))
    for index, output in enumerate(plan.bands):
        encoding = plan.encodings[output.source]
        band = raw_band(root, mosaic, index, _GDAL_TYPES[plan.options.dtype])
        add(band, "Description", output.name)
        add_tags(band, band_tags(plan, output))
        add_tags(band, _wavelengths(output), domain="IMAGERY")
        if encoding.nodata is not None:
            add(band, "NoDataValue", repr(float(encoding.nodata)))
        add(band, "ColorInterp", _COLOURS.get(output.name, "Undefined"))
        add(band, "Offset", repr(0.0 if output.kind == "spread" else encoding.offset))
        add(band, "Scale", repr(encoding.scale))
    return xml.tostring(root, encoding="unicode")


def band_tags(plan: Plan, output: OutputBand) -> dict[str, str]:
    """Return what the image says of one of its bands."""
    band = BANDS[output.source]
    tags = {"wavelength_nm": str(band.wavelength_nm), "native_gsd_m": str(band.gsd_m), "made": output.kind}
    if output.model is not None:
        tags["model"] = plan.models[output.model].family
    return tags


def _wavelengths(output: OutputBand) -> dict[str, str]:
    """Return a band's centre and full width at half maximum in micrometres, as GDAL has them since 3.10."""
    band = BANDS[output.source]
    return {"CENTRAL_WAVELENGTH_UM": f"{band.wavelength_nm / 1000:g}", "FWHM_UM": f"{band.width_nm / 1000:g}"}
