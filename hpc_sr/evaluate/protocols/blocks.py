"""A scene scored on blocks alone: those that were held out of a product whose other ground was trained on.

A network looks around a block, at ground that it may have learnt from. What its estimate is compared with, it has not
seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from hpc_sr.evaluate.protocols.scenes import Scene
from hpc_sr.infer.windows import Area
from hpc_sr.sentinel2.metadata import Grid
from hpc_sr.shards.schema import BlocksLine


def areas_of(blocks: BlocksLine, grid: Grid) -> list[Area]:
    """Return the whole pixels of a grid that lie in each block."""
    areas = []
    for left, bottom, right, top in blocks["bounds_m"]:
        row, column = (int(-(-away_m // grid.gsd_m)) for away_m in (grid.uly_m - top, left - grid.ulx_m))
        below, beside = (int(away_m // grid.gsd_m) for away_m in (grid.uly_m - bottom, right - grid.ulx_m))
        areas.append(Area(row, column, below - row, beside - column).within(grid.height, grid.width))
    return areas


def on_areas(scene: Scene, areas: Sequence[Area]) -> Scene:
    """Return the scene with nothing to be scored but these areas of it."""

    def reference(area: Area) -> tuple[torch.Tensor, torch.Tensor]:
        values, valid = scene.reference(area)
        inside = torch.zeros_like(valid)
        for part in (one.common(area) for one in areas):
            if part.height > 0 and part.width > 0:
                inside[part.relative_to(area).slices] = True
        return values, valid & inside

    return replace(scene, reference=reference, blocks=tuple(areas))
