"""How far a finished image, degraded again, is from the measured bands that it was made from."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from hpc_sr.infer.images import OpenBand
from hpc_sr.infer.plan import Plan
from hpc_sr.infer.sharpener import Sharpener
from hpc_sr.infer.windows import Area, tile_cores
from hpc_sr.sentinel2.degrade import degrade, kernel, support_px
from hpc_sr.tasks import REFLECTANCE_ONE, Target

#: Coarse pixels a side that are degraded at a time.
_CORE_PX = 192


def consistency_of(plan: Plan, out: Path) -> dict[str, tuple[float, float]]:
    """Return {band: (RMSE, mean)} of each sharpened band of an image, reflectance x 10 000.

    The file as it is, rounded and encoded, is degraded by the law that its model was trained with. What counts are
    coarse pixels that were measured and whose support lies in the image. NaN where there is none.
    """
    found: dict[str, tuple[float, float]] = {}
    with rasterio.open(out) as image, ExitStack() as opened:
        indices = {name: index for index, name in enumerate(image.descriptions, start=1)}
        for model in plan.models:
            for target in model.task.targets:
                for name in target.bands:
                    band = plan.image.open(name)
                    opened.callback(band.close)
                    found[name] = _consistency(plan, model, target, name, image, indices[name], band)
    return found


def _consistency(
    plan: Plan, model: Sharpener, target: Target, name: str, image: rasterio.DatasetReader, index: int, band: OpenBand
) -> tuple[float, float]:
    scale, radiometry = target.scale, plan.image.radiometry(name)
    law = kernel(model.degradation, scale, (name,), plan.image.satellite)
    beyond = -(-support_px(law) // scale)
    height, width = plan.area.height // scale, plan.area.width // scale
    squared = mean = count = 0.0
    if min(height, width) <= 2 * beyond:
        return float("nan"), float("nan")
    for core in tile_cores(height - 2 * beyond, width - 2 * beyond, _CORE_PX):
        core = Area(core.row + beyond, core.column + beyond, core.height, core.width)
        around = core.grown(beyond).times(scale)
        window = Window(around.column, around.row, around.width, around.height)
        fine = image.read(index, window=window, masked=True).astype(np.float64).filled(np.nan)
        fine = (fine * image.scales[index - 1] + image.offsets[index - 1]) * REFLECTANCE_ONE
        seen = degrade(fine[None], law)[0][core.relative_to(core.grown(beyond)).slices]
        row, column = core.row + plan.area.row // scale, core.column + plan.area.column // scale
        dn = band.read(Area(row, column, core.height, core.width))
        valid = np.isfinite(seen) & ~radiometry.missing(dn)
        measured = radiometry.stored(dn)[valid].astype(np.float64)
        squared += float(((seen[valid] - measured) ** 2).sum())
        mean += float(measured.sum())
        count += measured.size
    return ((squared / count) ** 0.5, mean / count) if count else (float("nan"), float("nan"))
