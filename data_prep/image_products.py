"""Products as images: their 10 m bands, as an 8-bit stretch or as reflectance, and a low resolution made of them.

Where references are asked for, the same bands of another date are a layer of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data_prep.catalog import check_together, open_with_bands
from data_prep.image_pairs import image_pair, trimmed
from data_prep.options import ImageOptions
from data_prep.products import TileSource
from data_prep.references import with_references
from hpc_sr.errors import HpcSrError
from hpc_sr.sentinel2.marks import band_marks, scene_marks
from hpc_sr.sentinel2.masks import special_values
from hpc_sr.sentinel2.pairs import UNMEASURED, Pair, resampled, stored
from hpc_sr.sentinel2.safe import BandReader, Product
from hpc_sr.tasks import REFLECTANCE_ONE, Task

#: Percentiles of a band's measured pixels that an 8-bit stretch maps to 0 and 255.
_STRETCH_PERCENTILES = (2, 98)
_INT16 = np.iinfo(np.int16)
_GSD_M = 10
#: Rows that are converted at a time: bounds memory, not the result.
_STRIP_ROWS = 512


#: Bands (C, H, W), what is marked in them by reason, and the reflectance that a stretch made 0 and 255, by band.
_Picture = tuple[np.ndarray, dict[str, np.ndarray], dict[str, list[float]]]


@dataclass(frozen=True)
class ProductImageSource(TileSource):
    """The 10 m bands of a product as one image (data_prep.sources.Source); `task` has the target's GSD of 10 m.

    `reference` is the product of another date that shows the same ground, for a task that has one.
    """

    options: ImageOptions
    reference: Product | None = None

    def facts(self) -> dict[str, Any]:
        told = super().facts()
        if self.reference is None:
            return told
        return {**told, "reference": replace(self, product=self.reference, reference=None, held_out=()).facts()}

    def about(self) -> dict[str, Any]:
        told = {**super().about(), "lr": "made"}
        return told if self.reference is None else {**told, "reference": self.reference.name}

    def pair(self, training: bool) -> Pair:
        """Return the bands, stretched or as reflectance x 10 000, with their low resolution and marks by reason.

        `found` has the reflectance that a stretch maps to 0 and 255; each date has its own. What a reference did not
        measure is marked; its clouds are not, which a network has to meet. Raises as BandReader does.
        """
        reasons = [reason for reason, limit in self.options.refuse.limits().items() if limit < 1]
        target, marks, stretch = self._picture(self.product, reasons)
        found: dict[str, Any] = {"height": target.shape[1], "width": target.shape[2]}
        found |= {"stretch": stretch} if stretch else {}
        given = {}
        if self.reference is not None:
            unmeasured = [reason for reason in reasons if reason in UNMEASURED]
            given["ref"], of_reference, own_stretch = self._picture(self.reference, unmeasured)
            for reason, mask in of_reference.items():
                marks[reason] = marks[reason] | mask if reason in marks else mask
            found |= {"reference_stretch": own_stretch} if own_stretch else {}
        bounds = (0, 255) if stretch else (_INT16.min, _INT16.max)
        pair = image_pair(target, marks, self.task, self.options.degradation, bounds, given)
        if training and self.held_out:
            pair.marks["held_out"] = self._mask_of(self.held_out, pair.shape)
        pair.found.update(found)
        return pair

    def _picture(self, product: Product, reasons: list[str]) -> _Picture:
        """Return the bands of a product and what is marked in them, trimmed to whole low-resolution pixels."""
        grid = product.grids[_GSD_M]
        layer = np.empty((len(self.options.bands), grid.height, grid.width), np.int16)
        marks: dict[str, np.ndarray] = {}
        stretch: dict[str, list[float]] = {}

        def mark(masks: dict[str, np.ndarray]) -> None:
            for reason, mask in masks.items():
                marks.setdefault(reason, np.zeros(layer.shape[1:], bool))[...] |= mask

        for out, name in zip(layer, self.options.bands, strict=True):
            with BandReader(product) as reader:
                special = _read(product, reader, name, out)
                unmeasured = special["nodata"] | special["saturated"]
                mark(special)
                del special
                told = band_marks(reader, name, reasons)
            for reason in told.keys() & {*UNMEASURED}:
                unmeasured |= told[reason]
            mark(told)
            if self.options.values == "stretch":
                stretch[name] = _stretch(out, ~unmeasured)
        with BandReader(product) as reader:
            for reason, (gsd_m, mask) in scene_marks(reader, reasons).items():
                mark({reason: resampled(mask, gsd_m, _GSD_M, (grid.height, grid.width))})
        scale = self.task.scale
        return (
            trimmed(layer, scale, product.name),
            {reason: trimmed(mask, scale) for reason, mask in marks.items()},
            stretch,
        )

    def _sizes(self) -> dict[str, int]:
        return {name: self.product.source.size(self.product.files[name]) for name in self.options.bands}


def product_image_sources(
    options: ImageOptions, task: Task
) -> tuple[list[ProductImageSource], list[tuple[str, HpcSrError]]]:
    """Return the sources of all products, and the path's name and error of what cannot be used.

    That is what cannot be opened, lacks a band, or has no reference where the recipe names references.
    """
    task = replace(task, targets=(replace(task.target, gsd_m=_GSD_M),))
    products, errors = open_with_bands(options.products, "images.products", options.bands, "mend images.bands")
    check_together(products, "images.products")
    if not options.references:
        return [ProductImageSource(product, task, options) for product in products], errors
    others, unusable = open_with_bands(options.references, "images.references", options.bands, "mend images.bands")
    check_together([*products, *others], "images.references")
    pairs, alone = with_references(products, others)
    told = {name for name, _ in errors}
    errors += [*(line for line in unusable if line[0] not in told), *alone]
    return [ProductImageSource(product, task, options, reference) for product, reference in pairs], errors


def _read(product: Product, reader: BandReader, name: str, out: np.ndarray) -> dict[str, np.ndarray]:
    """Put a band's reflectance x 10 000 into `out`; return where its pixels say that they are no measurement."""
    dn, offset = reader.dn(name), product.radiometric_offset[name]
    stored(dn, None, offset, product.quantification_value, out)
    return special_values(dn, offset, product.quantification_value, product.nodata_dn, product.saturated_dn)


def _stretch(values: np.ndarray, measured: np.ndarray) -> list[float]:
    """Turn reflectance x 10 000 into 0..255 in place, rounded; return the reflectance that became 0 and 255."""
    counts = np.zeros(_INT16.max - _INT16.min + 1, np.int64)
    for top in range(0, len(values), _STRIP_ROWS):
        strip = slice(top, top + _STRIP_ROWS)
        counts += np.bincount(values[strip][measured[strip]].astype(np.int64) - _INT16.min, minlength=len(counts))
    total = int(counts.sum())
    low, high = (_percentile(counts, q) + _INT16.min for q in _STRETCH_PERCENTILES) if total else (0, REFLECTANCE_ONE)
    grey = np.clip(np.rint((np.arange(len(counts)) + _INT16.min - low) * (255 / max(high - low, 1))), 0, 255)
    # A view as uint16 indexes what int16 holds: 0..32767, then -32768..-1.
    table = np.roll(grey, _INT16.min).astype(np.int16)
    for top in range(0, len(values), _STRIP_ROWS):
        values[top : top + _STRIP_ROWS] = table[values[top : top + _STRIP_ROWS].view(np.uint16)]
    return [low / REFLECTANCE_ONE, high / REFLECTANCE_ONE]


def _percentile(counts: np.ndarray, percent: float) -> float:
    """Return the percentile of values 0, 1, ... that occur so often, between neighbours linearly (as numpy)."""
    upto = np.cumsum(counts)
    rank = percent / 100 * (upto[-1] - 1)
    below, above = (int(np.searchsorted(upto, place, side="right")) for place in (np.floor(rank), np.ceil(rank)))
    return below + (above - below) * (rank - np.floor(rank))
