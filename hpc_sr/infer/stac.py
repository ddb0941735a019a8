"""The STAC item beside an image: what it is, where and when, for catalogues.

References: stacspec.org, item specification 1.1.0; extensions projection 2.0, electro-optical 2.0, raster 2.0,
processing 1.1. The extension for machine-learning models is left out: its fields describe a model, with what goes in
and comes out, and an item that declares it says that it is one. By its best practices what a model made is of
processing level L4 and names the model; `processing:lineage` and `hpc_sr:model` do.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from rasterio.crs import CRS

from hpc_sr import __version__
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
    f"https://stac-extensions.github.io/{name}/v{version}/schema.json"
    for name, version in (("projection", "2.0.0"), ("eo", "2.0.0"), ("raster", "2.0.0"), ("processing", "1.1.0"))
]


def stac_item(plan: Plan, out: Path, picture: str | None = None) -> str:
    """Return the item (JSON) of the image `out`; its geometry is the footprint of the 10 m grid in degrees.

    `picture` is the title of the PNG beside it, None if there is none. The item's name is the source's with the first
    digits of the plan's digest: no other product, model, option or region has it. A footprint across 180 degrees is
    two polygons, and its box has west > east (RFC 7946). The image's sensing time must be known: there is no item
    without one. Raises ImageError for one that is no time.
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
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": _EXTENSIONS,
        "id": f"{re.sub(r'[^A-Za-z0-9._-]+', '-', plan.image.name)}-{plan.digest[:12]}",
        "geometry": geometry(footprint),
        "bbox": bbox(footprint),
        "properties": {
            "datetime": plan.image.sensing_time,
            **_metres("gsd", grid),
            **_instrument(plan.image.satellite),
            **_system(grid.crs),
            "proj:shape": [area.height, area.width],
            "proj:transform": [grid.gsd_m, 0.0, left, 0.0, -grid.gsd_m, top],
            "processing:level": "L4",
            "processing:lineage": _lineage(plan, tags),
            "processing:software": {"hpc_sr": __version__},
            **{f"hpc_sr:{name}": value for name, value in tags.items() if name != "reflectance"},
        },
        "links": [{"rel": "derived_from", "href": name, "title": name} for name in _sources(plan)],
        "assets": {
            "image": {
                "href": f"./{out.name}",
                "roles": ["data", "reflectance"],
                "title": _title(plan),
                "type": "image/tiff; application=geotiff"
                + ("; profile=cloud-optimized" if plan.options.format == "cog" else ""),
                "bands": [_band(plan, output) for output in plan.bands],
            }
        },
    }
    if picture is not None:
        item["assets"]["thumbnail"] = {
            "href": f"./{out.with_suffix('.png').name}",
            "roles": ["thumbnail", "overview"],
            "title": picture,
            "type": "image/png",
        }
    return json.dumps(item, indent=1) + "\n"


def _sources(plan: Plan) -> list[str]:
    """Return the name of the product, as its metadata and archives have it, or those of the files of a stack."""
    product = plan.image.provenance.get("product")
    return [path.name for path in plan.image.sources] if product is None else [f"{product}.SAFE"]


def _lineage(plan: Plan, tags: dict[str, str]) -> str:
    """Return in a sentence or two how the bands came to be."""
    sizes = [f"{gsd_m:g} m" for gsd_m in _metres("gsd", plan.image.grids[10]).values()]
    told = f"{tags['super_resolved'] or 'No band'} brought to {sizes[0] if sizes else 'the finest grid'}"
    by = f" by {tags['model']}" if tags["model"] else ""
    return f"{plan.image.name}: {told}{by}. Options: {tags['options']}. Other bands are as measured."


def _system(crs: str) -> dict[str, Any]:
    """Return the reference system as a code, or spelled out where it has none."""
    system = CRS.from_string(crs)
    code = system.to_epsg()
    return {"proj:code": f"EPSG:{code}"} if code else {"proj:code": None, "proj:wkt2": system.to_wkt()}


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


def _band(plan: Plan, output: OutputBand) -> dict[str, Any]:
    band, encoding = BANDS[output.source], plan.encodings[output.source]
    nodata = "nan" if plan.options.dtype == "float32" else encoding.nodata
    return {
        "name": output.name,
        **({} if output.kind == "spread" else {"eo:common_name": COMMON_NAMES[output.source]}),
        "eo:center_wavelength": band.wavelength_nm / 1000,
        "eo:full_width_half_max": band.width_nm / 1000,
        "data_type": plan.options.dtype,
        **({} if nodata is None else {"nodata": nodata}),
        "unit": "1",
        "raster:scale": encoding.scale,
        "raster:offset": 0.0 if output.kind == "spread" else encoding.offset,
        **_metres("raster:spatial_resolution", plan.image.grids[10]),
    }
