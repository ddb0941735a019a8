"""Training and evaluation pairs of one product under Wald's protocol, from one read of each band.

Everything is degraded by the task's scale: what the satellite measured becomes the reference, and the degraded bands
become the inputs. For S2x the target grid is 20 m, for S6x 60 m.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hpc_sr.errors import ShapeError
from hpc_sr.sentinel2.degrade import degrade, kernel, support_px
from hpc_sr.sentinel2.masks import Invalid
from hpc_sr.sentinel2.radiometry import to_stored
from hpc_sr.sentinel2.safe import BandReader, Product
from hpc_sr.tasks import Layer, Task


@dataclass(frozen=True)
class Pair:
    """Layers by name, (C, H, W) int16 in stored units, and masks (H, W) on the target grid of what is no measurement.

    A pixel of the target grid is marked when any band of any layer at that place is, or depends on one that is.
    """

    layers: dict[str, np.ndarray]
    nodata: np.ndarray
    saturated: np.ndarray


def synthesis_pair(product: Product, task: Task, degradation: str) -> Pair:
    """Return the product's inputs and reference, trimmed at the lower right to whole coarsest pixels.

    Raises ShapeError if the product is smaller than one such pixel; errors of BandReader and `kernel` otherwise.
    """
    height, width = pair_shape(product, task)
    nodata, saturated = np.zeros((height, width), bool), np.zeros((height, width), bool)

    def mark(bad: Invalid, spread: Callable[[np.ndarray], np.ndarray]) -> None:
        for mask, whole in ((bad.nodata, nodata), (bad.saturated, saturated)):
            if mask.any():
                whole |= spread(mask)

    layers = {}
    with BandReader(product) as reader:
        for layer in task.inputs:
            bands = []
            for name in layer.bands:
                window = (0, 0, height * task.scale // layer.stride, width * task.scale // layer.stride)
                fine, bad = reader.reflectance(name, window)
                law = kernel(degradation, task.scale, (name,), product.satellite)
                beyond = support_px(law)
                bands.append(to_stored(degrade(fine[None], law)[0]))
                mark(bad, lambda mask, b=beyond, layer=layer: _on_target_grid(mask, task, layer, b))
            layers[layer.name] = np.stack(bands)
        bands = []
        for name in task.target.bands:
            reference, bad = reader.reflectance(name, (0, 0, height, width))
            bands.append(to_stored(reference))
            mark(bad, lambda mask: mask)
        layers[task.target.name] = np.stack(bands)
    return Pair(layers, nodata, saturated & ~nodata)


def pair_shape(product: Product, task: Task) -> tuple[int, int]:
    """Return (H, W) of the target grid of a product's pair: the most whole coarsest input pixels that fit."""
    grid, unit = product.grids[task.target.gsd_m], task.alignment_px
    height, width = grid.height // unit * unit, grid.width // unit * unit
    if not height or not width:
        raise ShapeError(
            f"{grid.height} x {grid.width} px at {grid.gsd_m} m is less than one coarsest pixel ({unit} px)",
            where=product.name, cure="give a larger product",
        )  # fmt: skip
    return height, width


def _on_target_grid(mask: np.ndarray, task: Task, layer: Layer, beyond_px: int) -> np.ndarray:
    """Return, on the target grid, where a degraded pixel of the layer depends on a marked fine pixel."""
    grown = _grow(mask, beyond_px)
    height, width = mask.shape[0] // task.scale, mask.shape[1] // task.scale
    coarse = grown.reshape(height, task.scale, width, task.scale).any((1, 3))
    return np.repeat(np.repeat(coarse, layer.stride, 0), layer.stride, 1)


def _grow(mask: np.ndarray, by_px: int) -> np.ndarray:
    """Return the mask grown by a square of `by_px` on each side; cumulative sums, so any radius costs the same."""
    for axis in (0, 1):
        padded = np.moveaxis(np.pad(mask, [(by_px + 1, by_px) if a == axis else (0, 0) for a in (0, 1)]), axis, 0)
        sums = np.cumsum(padded, axis=0, dtype=np.int32)
        mask = np.moveaxis((sums[2 * by_px + 1 :] - sums[: -2 * by_px - 1]) > 0, 0, axis)
    return mask
