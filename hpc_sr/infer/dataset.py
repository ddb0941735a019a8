"""A result as an xarray.Dataset, georeferenced as rioxarray, odc-geo and GDAL read it (CF 1.8, grid mapping)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rasterio.crs import CRS

from hpc_sr.errors import MissingComponentError
from hpc_sr.extras import has, install
from hpc_sr.infer.images import Image
from hpc_sr.infer.in_memory import sharpen_in_memory
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.plan import Plan
from hpc_sr.infer.region import bounds_of
from hpc_sr.infer.sharpener import Sharpener
from hpc_sr.infer.write import band_tags, tags_of

if TYPE_CHECKING:
    import xarray


def sharpened_dataset(models: Sequence[Sharpener], image: Image, options: InferOptions) -> xarray.Dataset:
    """Return an image's bands at 10 m, a variable (y, x) a band: reflectance as float32, NaN where there is none.

    `x` and `y` are the pixels' centres in metres of the reference system, which `spatial_ref` tells. Attributes say
    what the image was made of and how. Raises what sharpen_in_memory raises; MissingComponentError without xarray.
    """
    if not has("xarray"):
        cure = f"{install('xarray')}, or give out= to write a file"
        raise MissingComponentError("is not installed", where="xarray", cure=cure)
    import xarray

    plan, values = sharpen_in_memory(models, image, options)
    variables = {}
    for output, plane in zip(plan.bands, values, strict=True):
        variables[output.name] = xarray.Variable(
            ("y", "x"),
            plane,
            {"long_name": output.name, "units": "1", **band_tags(plan, output)},
            {"grid_mapping": "spatial_ref", "_FillValue": np.float32(np.nan)},
        )
    about = {key: text for key, text in tags_of(plan).items() if key not in ("reflectance", "hpc_sr_key")}
    return xarray.Dataset(variables, _coordinates(plan), {"Conventions": "CF-1.8", **about})


def _coordinates(plan: Plan) -> dict[str, xarray.Variable]:
    import xarray

    grid = plan.image.grids[10]
    left, _, _, top = bounds_of(plan.area, grid)
    crs = CRS.from_string(grid.crs)
    wkt = crs.to_wkt()
    numbers = (left, grid.gsd_m, 0.0, top, 0.0, -grid.gsd_m)
    mapping = {"crs_wkt": wkt, "spatial_ref": wkt, "GeoTransform": " ".join(repr(float(n)) for n in numbers)}
    told_x = {"units": "degrees_east", "standard_name": "longitude"}
    told_y = {"units": "degrees_north", "standard_name": "latitude"}
    if crs.is_projected:
        told_x, told_y = (
            {"units": crs.linear_units, "standard_name": f"projection_{axis}_coordinate"} for axis in ("x", "y")
        )
    return {
        "x": xarray.Variable("x", left + (np.arange(plan.area.width) + 0.5) * grid.gsd_m, {**told_x, "axis": "X"}),
        "y": xarray.Variable("y", top - (np.arange(plan.area.height) + 0.5) * grid.gsd_m, {**told_y, "axis": "Y"}),
        "spatial_ref": xarray.Variable((), np.int64(0), mapping),
    }
