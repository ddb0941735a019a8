"""Training and evaluation pairs of one product under Wald's protocol, from one read of each band.

The inputs are degraded by the task's scale, and what the satellite measured becomes the reference. For S2x the target
grid is 20 m, for S6x 60 m. Where a task has targets of several scales the greatest one decides: a target of a smaller
scale is then degraded by what is left, the 20 m bands by 3 to lie on the 60 m grid beside those of 60 m.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np

from hpc_sr.errors import ShapeError
from hpc_sr.logs import logger
from hpc_sr.sentinel2 import registration
from hpc_sr.sentinel2.bands import band
from hpc_sr.sentinel2.degrade import Kernel, degrade, kernel, support_px
from hpc_sr.sentinel2.marks import band_marks, done_without, scene_marks
from hpc_sr.sentinel2.masks import special_values
from hpc_sr.sentinel2.radiometry import to_stored
from hpc_sr.sentinel2.registration import Crops, check_band_order, check_registration
from hpc_sr.sentinel2.safe import BandReader, Product
from hpc_sr.tasks import Layer, Task

#: Bands that are held at a time, 241 MB each at 10 m, and rows that are degraded at a time: what a cache holds.
_BANDS_AT_ONCE = 4
_STRIP_ROWS = 240

#: Reasons why a pixel is no measurement, as opposed to a measurement of a cloud.
UNMEASURED = ("nodata", "saturated", "lost", "degraded", "defective")


@dataclass(frozen=True)
class Pair:
    """Layers by name, (C, H, W) int16 in stored units, and masks (H, W) on the target grid by reason.

    A pixel of the target grid is marked when any band of any layer at that place is, or depends on one that is. A
    reason without a marked pixel may be absent. `found` is what was measured on the way, for the manifest.
    """

    layers: dict[str, np.ndarray]
    marks: dict[str, np.ndarray]
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """The target grid's (H, W): that of the last layer."""
        height, width = next(reversed(self.layers.values())).shape[1:]
        return height, width

    @property
    def unmeasured(self) -> np.ndarray:
        """Where something is no measurement, whatever the reason."""
        marked = [self.marks[reason] for reason in UNMEASURED if reason in self.marks]
        return np.logical_or.reduce([np.zeros(self.shape, bool), *marked])


def synthesis_pair(
    product: Product,
    task: Task,
    degradation: str,
    limits: Mapping[str, float] | None = None,
    registration_px: float | None = None,
    mtf_shift: Mapping[str, float] | None = None,
    phase: tuple[int, int] = (0, 0),
) -> Pair:
    """Return the product's inputs and reference, trimmed at the lower right to whole coarsest pixels.

    `phase` is where the pair begins, in rows and columns of the target grid: another grid of degraded pixels.
    `limits` are the shares of a patch that may be marked, by reason: masks of those that allow all are not read (by
    default only nodata and saturation count, which the DN tell where the masks are missing). `registration_px` is the
    largest shift between grids, None to look at neither shifts nor the order of bands.
    Bands are decoded and degraded side by side, in strips: memory is the layers' and a few bands'.
    Raises ShapeError if the product is smaller than one such pixel; RegistrationError; errors of BandReader.
    """
    limits = dict.fromkeys(("nodata", "saturated"), 0.0) if limits is None else limits
    gathering = _Gathering(product, task, degradation, limits, mtf_shift or {}, registration_px is not None, phase)
    bands = sorted({name for layer in task.layers for name in layer.bands}, key=lambda name: (band(name).gsd_m, name))
    cores = len(os.sched_getaffinity(0))
    workers = min(cores, _BANDS_AT_ONCE)
    with ThreadPoolExecutor(workers) as pool:
        reading = [pool.submit(gathering.read_band, name, max(1, cores // workers)) for name in bands]
        try:
            for done in reading:
                done.result()
        finally:
            pool.shutdown(cancel_futures=True)  # the bands after a bad one are not worth their decoding
    gathering.read_scene()
    found: dict[str, Any] = {}
    if registration_px is not None:
        check_band_order(gathering.overviews, product.name)
        found["registration_px"] = check_registration(gathering.crops, registration_px, product.name)
    missing = done_without(product, bands)
    if missing:
        told = "%s: nodata and saturation are what the DN say: %d masks are missing, as %s"
        logger.warning(told, product.name, len(missing), missing[0])
        found["masks_missing"] = missing
    return Pair(gathering.layers, gathering.marks, found)


class _Gathering:
    """A pair as it comes together from several threads, a band each."""

    def __init__(
        self,
        product: Product,
        task: Task,
        degradation: str,
        limits: Mapping[str, float],
        mtf_shift: Mapping[str, float],
        keep_crops: bool,
        phase: tuple[int, int],
    ):
        self._product, self._task, self._degradation, self._mtf_shift = product, task, degradation, mtf_shift
        self._phase, self._shape = phase, pair_shape(product, task, phase)
        self._reasons = {reason for reason, limit in limits.items() if limit < 1}
        self._keep_crops, self._lock = keep_crops, Lock()
        self.layers = {layer.name: np.empty(_shape(layer, self._shape), np.int16) for layer in task.layers}
        self.marks = {reason: np.zeros(self._shape, bool) for reason in ("nodata", "saturated")}
        self.crops: dict[str, Crops] = {}
        self.overviews: dict[str, np.ndarray] = {}

    def read_band(self, name: str, threads: int) -> None:
        """Decode a band once, put it into each layer that has it, and mark what is no measurement."""
        product, reasons = self._product, self._reasons
        with BandReader(product, threads) as reader:
            dn = reader.dn(name)
            if self._keep_crops:
                self.crops[name] = registration.crops(name, dn)
                self.overviews[name] = registration.overview(name, dn)
            offset, quantification = product.radiometric_offset[name], product.quantification_value
            special = special_values(dn, offset, quantification, product.nodata_dn, product.saturated_dn)
            marks = [(reason, mask) for reason, mask in special.items() if mask.any()]
            for layer in (layer for layer in self._task.layers if name in layer.bands):
                law, inside = self._law(layer, name), self._inside(layer)
                stored(dn[inside], law, offset, quantification, self.layers[layer.name][layer.bands.index(name)])
            del dn
            for reason, mask in (*marks, *band_marks(reader, name, reasons).items()):
                for layer in (layer for layer in self._task.layers if name in layer.bands):
                    law, inside = self._law(layer, name), self._inside(layer)
                    self._mark(reason, _on_target_grid(mask[inside], layer, law))

    def read_scene(self) -> None:
        """Mark the classes of the scene; what is nodata is nothing else."""
        with BandReader(self._product) as reader:
            for reason, (gsd_m, mask) in scene_marks(reader, self._reasons).items():
                (top, left), (height, width) = self._phase, self._shape
                whole = resampled(mask, gsd_m, self._task.grid_gsd_m, (top + height, left + width))
                self._mark(reason, whole[top:, left:])
        for reason in self.marks.keys() - {"nodata"}:
            self.marks[reason] &= ~self.marks["nodata"]

    def _law(self, layer: Layer, name: str) -> Kernel | None:
        """Return how the layer's band is degraded, None if it is as it was measured."""
        scale = self._task.training_scale(layer)
        if scale == 1:
            return None
        return kernel(self._degradation, scale, (name,), self._product.satellite, self._mtf_shift)

    def _inside(self, layer: Layer) -> tuple[slice, slice]:
        """Return the part of a band at its native GSD that the pair covers."""
        scale = self._task.training_scale(layer)
        rows, columns = (
            slice(first * scale // layer.stride, (first + side) * scale // layer.stride)
            for first, side in zip(self._phase, self._shape, strict=True)
        )
        return rows, columns

    def _mark(self, reason: str, mask: np.ndarray) -> None:
        with self._lock:
            self.marks.setdefault(reason, np.zeros(self._shape, bool))
            self.marks[reason] |= mask


def stored(dn: np.ndarray, law: Kernel | None, offset: float, quantification: float, out: np.ndarray) -> None:
    """Put a band's degraded reflectance x 10 000 (int16) into `out`, strip by strip; `law` None keeps the grid.

    The degradation is linear and its taps add up to 1, so DN are degraded and the offset comes after.
    """
    scale = 1 if law is None else law.scale
    halo = 0 if law is None else -(-support_px(law) // scale) * scale
    for top in range(0, dn.shape[0], _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, dn.shape[0])
        first, last = max(0, top - halo), min(dn.shape[0], bottom + halo)
        rows = dn[first:last].astype(np.float32)
        if law is not None:
            rows = degrade(rows[None], law)[0]
        rows = rows[(top - first) // scale : (bottom - first) // scale]
        out[top // scale : bottom // scale] = to_stored(rows, offset, quantification)


def pair_shape(product: Product, task: Task, phase: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """Return (H, W) of the target grid of a product's pair: the most whole coarsest input pixels that fit."""
    grid, unit = product.grids[task.grid_gsd_m], task.alignment_px
    height, width = (
        (side - first) // unit * unit for side, first in zip((grid.height, grid.width), phase, strict=True)
    )
    if height <= 0 or width <= 0:
        raise ShapeError(
            f"{grid.height} x {grid.width} px at {grid.gsd_m} m is less than one coarsest pixel ({unit} px)",
            where=product.name,
            cure="give a larger product",
        )
    return height, width


def _shape(layer: Layer, shape: tuple[int, int]) -> tuple[int, int, int]:
    return len(layer.bands), shape[0] // layer.stride, shape[1] // layer.stride


def _on_target_grid(mask: np.ndarray, layer: Layer, law: Kernel | None) -> np.ndarray:
    """Return, on the target grid, where a degraded pixel of the layer depends on a marked fine pixel."""
    if law is None:
        return mask
    coarse = coarse_marks(mask, support_px(law), law.scale)
    return np.repeat(np.repeat(coarse, layer.stride, 0), layer.stride, 1)


def coarse_marks(mask: np.ndarray, beyond_px: int, scale: int) -> np.ndarray:
    """Return which coarse pixels depend on a marked fine one: in its own box, or `beyond_px` around it."""
    for _ in (0, 1):
        mask = _any_in_support(mask, beyond_px, scale).T
    return mask


def _any_in_support(mask: np.ndarray, beyond_px: int, scale: int) -> np.ndarray:
    """Return, along the first axis, whether each coarse pixel's box and `beyond_px` on each side hold a mark."""
    padded = np.pad(mask, ((beyond_px, beyond_px), (0, 0)))
    count = mask.shape[0] // scale
    marked = np.zeros((count, mask.shape[1]), bool)
    for k in range(scale + 2 * beyond_px):
        marked |= padded[k : k + scale * (count - 1) + 1 : scale]
    return marked


def resampled(mask: np.ndarray, gsd_m: int, target_gsd_m: int, shape: tuple[int, int]) -> np.ndarray:
    """Return a class mask on the target grid: repeated where that is finer, any of its pixels where it is coarser."""
    if gsd_m >= target_gsd_m:
        ratio = gsd_m // target_gsd_m
        return np.repeat(np.repeat(mask, ratio, 0), ratio, 1)[: shape[0], : shape[1]]
    ratio = target_gsd_m // gsd_m
    whole = mask[: shape[0] * ratio, : shape[1] * ratio]
    return np.logical_or.reduce(whole.reshape(shape[0], ratio, shape[1], ratio), (1, 3))
