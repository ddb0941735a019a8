"""What a product says against its own pixels, by reason: masks of a band's quality and classes of the scene.

lost, degraded, defective   MSK_QUALIT from baseline 04.00 on, MSK_TECQUA and MSK_DEFECT before
saturated, nodata           the same files (MSK_SATURA, MSK_NODATA), besides the special values in the pixels
cloud, cirrus, shadow, snow SCL of L2A; MSK_CLASSI from 04.00 on, MSK_CLOUDS before (L1C tells no shadow)
detector_seam               where MSK_DETFOO changes from one detector to the next: bands see it from other angles
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from hpc_sr.sentinel2.polygons import Region
from hpc_sr.sentinel2.rasters import rasterize
from hpc_sr.sentinel2.safe import BandReader

BAND_REASONS = ("nodata", "saturated", "lost", "degraded", "defective")

# Layers of MSK_QUALIT: lost and degraded count for ancillary packets (1, 2) and image packets (3, 4). Layer 7,
# partially corrected crosstalk, covers stripes of every short-wave infrared band and is no reason.
_QUALIT = {"lost": (1, 3), "degraded": (2, 4), "defective": (5,), "nodata": (6,), "saturated": (8,)}
_VECTORS = {
    "lost": ("TECQUA", ("ANC_LOST", "MSI_LOST")),
    "degraded": ("TECQUA", ("ANC_DEG", "MSI_DEG")),
    "defective": ("DEFECT", ("QT_DEFECTIVE_PIXELS", "DEFECT")),
    "nodata": ("NODATA", ("QT_NODATA_PIXELS", "NODATA")),
    "saturated": ("SATURA", ("QT_SATURATED_PIXELS_L1A", "QT_SATURATED_PIXELS_L1B", "SATURA")),
}
_CLASSI = {"cloud": 1, "cirrus": 2, "snow": 3}
_CLOUDS = {"cloud": ("OPAQUE",), "cirrus": ("CIRRUS",)}
_SCL = {"nodata": (0,), "saturated": (1,), "shadow": (3,), "cloud": (8, 9), "cirrus": (10,), "snow": (11,)}


def band_marks(reader: BandReader, name: str, reasons: Collection[str]) -> dict[str, np.ndarray]:
    """Return masks (H, W) of a band on its own grid, by reason; a reason that marks nothing is absent."""
    wanted = [reason for reason in BAND_REASONS if reason in reasons]
    layers = tuple(layer for reason in wanted for layer in _QUALIT[reason])
    planes = reader.mask("QUALIT", name, layers)
    if planes is not None:
        marked = {layer: plane > 0 for layer, plane in zip(layers, planes, strict=True) if plane.any()}
        told = {reason: [marked[layer] for layer in _QUALIT[reason] if layer in marked] for reason in wanted}
        found = {reason: np.logical_or.reduce(masks) for reason, masks in told.items() if masks}
    else:
        found = {}
        for reason in wanted:
            kind, names = _VECTORS[reason]
            regions = [region for region in reader.regions(kind, name) or () if region.kind in names]
            if regions:
                found[reason] = _drawn(regions, reader, name) > 0
    if "detector_seam" in reasons:
        seam = _seam(reader, name)
        if seam is not None and seam.any():
            found["detector_seam"] = seam
    return found


def scene_marks(reader: BandReader, reasons: Collection[str]) -> dict[str, tuple[int, np.ndarray]]:
    """Return (GSD in metres, mask on the grid of that GSD) by reason; a reason that marks nothing is absent."""
    classes = reader.scene_classes()
    if classes is not None:
        found = {reason: (20, np.isin(classes, _SCL[reason])) for reason in _SCL if reason in reasons}
        return {reason: (gsd_m, mask) for reason, (gsd_m, mask) in found.items() if mask.any()}
    wanted = [reason for reason in _CLASSI if reason in reasons]
    planes = reader.mask("CLASSI", "", tuple(_CLASSI[reason] for reason in wanted)) if wanted else None
    if planes is not None:
        return {r: (60, plane > 0) for r, plane in zip(wanted, planes, strict=True) if plane.any()}
    regions = (reader.regions("CLOUDS") or []) if wanted else []
    grid = reader.product.grids[20]
    found = {}
    for reason in (reason for reason in wanted if reason in _CLOUDS):
        mask = rasterize([(region, 1) for region in regions if region.kind in _CLOUDS[reason]], grid) > 0
        if mask.any():
            found[reason] = (20, mask)
    return found


def _drawn(regions: list[Region], reader: BandReader, name: str) -> np.ndarray:
    return rasterize([(region, region.detector or 1) for region in regions], reader.product.grid(name))


def _seam(reader: BandReader, name: str) -> np.ndarray | None:
    planes = reader.mask("DETFOO", name)
    if planes is not None:
        detectors = planes[0]
    else:
        regions = reader.regions("DETFOO", name)
        if regions is None:
            return None
        detectors = _drawn(regions, reader, name)
    seam = np.zeros(detectors.shape, bool)
    for axis in (0, 1):
        before, after = (np.moveaxis(detectors, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        differ = (before != after) & (before > 0) & (after > 0)
        across = np.moveaxis(seam, axis, 0)
        across[:-1] |= differ
        across[1:] |= differ
    return seam
