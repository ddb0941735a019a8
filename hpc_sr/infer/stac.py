"""The STAC item beside an image: what it is, where and when, for catalogues. STAC 1.0 with projection, eo and raster.

References: stacspec.org, item specification 1.0.0; extensions projection 1.1, electro-optical 1.1, raster 1.1.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rasterio.crs import CRS

from hpc_sr.errors import ImageError
from hpc_sr.infer.images import is_utc
from hpc_sr.infer.plan import OutputBand, Plan
from hpc_sr.infer.region import bounds_of
from hpc_sr.infer.write import tags_of
from hpc_sr.sentinel2.band_names import COMMON_NAMES
from hpc_sr.sentinel2.bands import BANDS, SATELLITES
from hpc_sr.sentinel2.globe import bbox, geometry
from hpc_sr.sentinel2.ground import Ground, outline_of
from hpc_sr.sentinel2.metadata import Grid

_EXTENSIONS = [
    f"https://stac-extensions.github.io/{name}/v1.1.0/schema.json" for name in ("projection", "eo", "raster")
]


def stac_item(plan: Plan, out: Path) -> str:
    """Return the item (JSON) of the image `out`; its geometry is the footprint of the 10 m grid in degrees.

    A footprint across 180 degrees is two polygons, and its box has west > east (RFC 7946).
    The image's sensing time must be known: there is no item without one. Raises ImageError for one that is no time.
    """
    if not is_utc(plan.image.sensing_time):
        raise ImageError(
            f"was sensed at {plan.image.sensing_time!r}, which is no time",
            where=plan.image.name,
            cure="mend its metadata: 2024-06-15T10:20:31Z",
        )
    grid, area = plan.image.grids[10], plan.area
    bounds = left, _, _, top = bounds_of(area, grid)
    footprint = outline_of(Ground(grid.crs, bounds))
    tags = tags_of(plan)
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": _EXTENSIONS,
        "id": out.stem,
        "geometry": geometry(footprint),
        "bbox": bbox(footprint),
        "properties": {
            "datetime": plan.image.sensing_time,
            **_metres("gsd", grid),
            **_instrument(plan.image.satellite),
            "proj:epsg": CRS.from_string(grid.crs).to_epsg(),
            "proj:shape": [area.height, area.width],
            "proj:transform": [grid.gsd_m, 0.0, left, 0.0, -grid.gsd_m, top],
            **{f"hpc_sr:{name}": value for name, value in tags.items() if name != "reflectance"},
        },
        "links": [],
        "assets": {
            "image": {
                "href": f"./{out.name}",
                "roles": ["data", "reflectance"],
                "title": _title(plan),
                "type": "image/tiff; application=geotiff"
                + ("; profile=cloud-optimized" if plan.options.format == "cog" else ""),
                "eo:bands": [_eo_band(output) for output in plan.bands],
                "raster:bands": [_raster_band(plan, output) for output in plan.bands],
            }
        },
    }
    return json.dumps(item, indent=1) + "\n"


def _title(plan: Plan) -> str:
    kinds = {output.kind for output in plan.bands}
    which = "Measured and sharpened" if "native" in kinds else "Sharpened"
    spread = " with their spread" if "spread" in kinds else ""
    gsd = "".join(f" at {gsd_m:g} m" for gsd_m in _metres("gsd", plan.image.grids[10]).values())
    return f"{which} bands{gsd}{spread}"


def _metres(name: str, grid: Grid) -> dict[str, float]:
    """Return a grid's pixel size under a name; nothing of a grid in degrees, whose pixels have no one size."""
    crs = CRS.from_string(grid.crs)
    return {name: grid.gsd_m * crs.linear_units_factor[1]} if crs.is_projected else {}


def _instrument(satellite: str) -> dict[str, Any]:
    if satellite not in SATELLITES:
        return {}
    platform = f"sentinel-2{satellite[-1].lower()}"
    return {"platform": platform, "constellation": "sentinel-2", "instruments": ["msi"]}


def _eo_band(output: OutputBand) -> dict[str, Any]:
    band = BANDS[output.source]
    named = {"name": output.name, "center_wavelength": band.wavelength_nm / 1000}
    return named if output.kind == "spread" else named | {"common_name": COMMON_NAMES[output.source]}


def _raster_band(plan: Plan, output: OutputBand) -> dict[str, Any]:
    encoding = plan.encodings[output.source]
    nodata = "nan" if plan.options.dtype == "float32" else encoding.nodata
    return {
        "data_type": plan.options.dtype,
        **({} if nodata is None else {"nodata": nodata}),
        "scale": encoding.scale,
        "offset": 0.0 if output.kind == "spread" else encoding.offset,
        **_metres("spatial_resolution", plan.image.grids[10]),
        "unit": "1",
    }
