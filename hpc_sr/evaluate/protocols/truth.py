"""The truth protocol: the estimate from the native bands is compared with an image of 10 m that somebody has."""

from __future__ import annotations

import numpy as np
import torch

from hpc_sr.errors import ImageError
from hpc_sr.evaluate.methods import Method
from hpc_sr.evaluate.protocols.external import SAME_PLACE_PX, check_counted, check_grid, counted_pixels, in_order
from hpc_sr.evaluate.protocols.external_images import External
from hpc_sr.evaluate.protocols.scenes import Lineup, Scene, measured, native_field, native_prediction, scene_classes
from hpc_sr.infer.windows import Area
from hpc_sr.sentinel2.metadata import Grid
from hpc_sr.sentinel2.rasters import affine
from hpc_sr.sentinel2.safe import BandReader, Product


def truth_scene(
    product: Product, reader: BandReader, lineup: Lineup, truth: External, mask: External | None = None
) -> Scene:
    """Return a product under the truth protocol, on the part of its 10 m grid that the truth covers.

    Only pixels that are not 0 in `mask`, which lies as the truth does, are scored.
    Raises ImageError, naming the image, unless the truth lies on that grid, has the task's target bands, and a pixel
    to score.
    """
    task, grid = lineup.task, product.grids[10]
    truth = in_order(truth, task.target.bands, len(task.target.bands))
    corner = place_on(grid, truth)
    if mask is not None:
        check_grid(mask, truth)
    check_counted(truth, mask)
    stride = task.target.coarse.stride

    def reference(area: Area) -> tuple[torch.Tensor, torch.Tensor]:
        values, known = counted_pixels(truth, mask, area)
        return torch.from_numpy(np.where(known, values, 0.0)), torch.from_numpy(known)

    def on_product(area: Area) -> Area:
        return Area(area.row + corner.row, area.column + corner.column, area.height, area.width)

    def moved(method: Method) -> Method:
        return lambda area: method(on_product(area))

    def pictures(area: Area) -> dict[str, np.ndarray]:
        there = on_product(area)
        return {
            "guide": measured(reader, task.inputs[0].bands, there),
            "truth": truth.read(area)[0],
            "input": measured(reader, task.target.bands, there.aligned(stride).divided(stride)),
        }

    told = {what: image.path.name for what, image in (("truth", truth), ("mask", mask)) if image is not None}
    methods = lineup.methods(native_field(reader, lineup), native_prediction(reader))
    classes = scene_classes(reader, grid.gsd_m, (grid.height, grid.width))
    return Scene(
        product.name,
        product.provenance() | told,
        truth.height,
        truth.width,
        reference,
        {name: moved(method) for name, method in methods.items()},
        None if classes is None else classes[corner.slices],
        pictures,
    )


def place_on(grid: Grid, image: External) -> Area:
    """Return which pixels of a grid an image covers; without a place of its own it must cover all of them.

    Raises ImageError if it is in another CRS, its pixels are not the grid's, or it reaches beyond the grid.
    """
    area, problem = Area(0, 0, image.height, image.width), None
    if image.crs is not None and image.crs.to_string() != grid.crs:
        problem = f"is in {image.crs}, the product in {grid.crs}"
    elif image.transform is None:
        if (image.height, image.width) != (grid.height, grid.width):
            problem = f"has no place and is {image.height} x {image.width} px, not {grid.height} x {grid.width} px"
    else:
        to_pixels = ~affine(grid) @ image.transform
        left, top = to_pixels @ (0, 0)
        right, bottom = to_pixels @ (image.width, image.height)
        row, column = round(top), round(left)
        off_px = max(
            abs(left - column), abs(top - row), abs(right - column - image.width), abs(bottom - row - image.height)
        )
        area = Area(row, column, image.height, image.width)
        if off_px > SAME_PLACE_PX:
            problem = f"lies {off_px:.2f} px off the product's {grid.gsd_m} m grid"
        elif area != area.within(grid.height, grid.width):
            problem = "reaches beyond the product"
    if problem:
        raise ImageError(problem, where=image.path, cure=f"resample it onto the product's {grid.gsd_m} m grid")
    return area
