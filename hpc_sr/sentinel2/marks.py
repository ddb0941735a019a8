"""What a product says against its own pixels, by reason: masks of a band's quality and classes of the scene.

lost, degraded, defective   MSK_QUALIT from baseline 04.00 on, MSK_TECQUA and MSK_DEFECT before
saturated, nodata           the same files (MSK_SATURA, MSK_NODATA), besides the special values in the pixels
cloud, cirrus, shadow, snow SCL of L2A; MSK_CLASSI from 04.00 on, MSK_CLOUDS before (L1C tells no shadow)
detector_seam               where MSK_DETFOO changes from one detector to the next: bands see it from other angles
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath

import numpy as np

from hpc_sr.errors import MissingFileError
from hpc_sr.sentinel2.polygons import Region
from hpc_sr.sentinel2.rasters import rasterize
from hpc_sr.sentinel2.safe import BandReader, Product

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
_QUALITY = ("lost", "degraded", "defective")
_FORMS = {"QUALIT": (".jp2",), "CLASSI": (".jp2",), "DETFOO": (".jp2", ".gml")}
_SCENE = ("cloud", "cirrus", "shadow", "snow")
_CLASSI = {"cloud": 1, "cirrus": 2, "snow": 3}
_CLOUDS = {"cloud": ("OPAQUE",), "cirrus": ("CIRRUS",)}
_SCL = {"nodata": (0,), "saturated": (1,), "shadow": (3,), "cloud": (8, 9), "cirrus": (10,), "snow": (11,)}


def band_marks(reader: BandReader, name: str, reasons: Collection[str]) -> dict[str, np.ndarray]:
    """Return masks (H, W) of a band on its own grid, by reason; a reason that marks nothing is absent.

    Nodata and saturation are in the DN too: where nothing else is asked of the quality masks, those that are missing
    are done without. Otherwise raises MissingFileError, whose cure says what to allow.
    """
    wanted = [reason for reason in BAND_REASONS if reason in reasons]
    needed = any(reason in _QUALITY for reason in wanted)
    found: dict[str, np.ndarray] = {}
    if reader.product.mask_file("QUALIT", name) is not None:
        if wanted and _is_there(reader, "QUALIT", name, _QUALITY if needed else ()):
            found = _of_layers(reader, name, wanted)
    else:
        for reason in wanted:
            kind, names = _VECTORS[reason]
            if not _is_there(reader, kind, name, _QUALITY if needed else ()):
                continue
            regions = [region for region in reader.regions(kind, name) or () if region.kind in names]
            if regions:
                found[reason] = _drawn(regions, reader, name) > 0
    if "detector_seam" in reasons and _is_there(reader, "DETFOO", name, ("detector_seam",)):
        seam = _seam(reader, name)
        if seam.any():
            found["detector_seam"] = seam
    return found


def scene_marks(reader: BandReader, reasons: Collection[str]) -> dict[str, tuple[int, np.ndarray]]:
    """Return (GSD in metres, mask on the grid of that GSD) by reason; a reason that marks nothing is absent.

    Raises MissingFileError as `band_marks` does.
    """
    wanted = [reason for reason in _SCENE if reason in reasons]
    if _has_classes(reader, wanted):
        classes = reader.scene_classes()
        assert classes is not None
        found = {reason: (20, np.isin(classes, _SCL[reason])) for reason in _SCL if reason in reasons}
        return {reason: (gsd_m, mask) for reason, (gsd_m, mask) in found.items() if mask.any()}
    if reader.product.mask_file("CLASSI") is not None:
        wanted = [reason for reason in _CLASSI if reason in wanted]
        if not wanted or not _is_there(reader, "CLASSI", "", wanted):
            return {}
        planes = reader.mask("CLASSI", "", tuple(_CLASSI[reason] for reason in wanted))
        assert planes is not None
        return {r: (60, plane > 0) for r, plane in zip(wanted, planes, strict=True) if plane.any()}
    wanted = [reason for reason in _CLOUDS if reason in wanted]
    if not wanted or not _is_there(reader, "CLOUDS", "", wanted):
        return {}
    regions, grid, found = reader.regions("CLOUDS") or [], reader.product.grids[20], {}
    for reason in wanted:
        mask = rasterize([(region, 1) for region in regions if region.kind in _CLOUDS[reason]], grid) > 0
        if mask.any():
            found[reason] = (20, mask)
    return found


def done_without(product: Product, names: Collection[str]) -> list[str]:
    """Return the names of masks that would tell nodata and saturation of these bands too, but are missing."""
    kinds = ("QUALIT", "NODATA", "SATURA")
    files = [product.scene_class, *(product.mask_file(kind, name) for kind in kinds for name in names)]
    return sorted(PurePosixPath(file).name for file in files if file is not None and not product.source.has(file))


def _has_classes(reader: BandReader, wanted: Collection[str]) -> bool:
    """Return whether there is a scene classification to read; raise MissingFileError if it is needed and is not."""
    product = reader.product
    if product.has_scene_classes or product.level != "L2A" or not wanted:
        return product.has_scene_classes
    if product.scene_class is not None:
        raise _missing("is missing", product.source.where(product.scene_class), wanted)
    told = (*_CLASSI,) if product.mask_file("CLASSI") is not None else (*_CLOUDS,)
    if not set(wanted) <= set(told):
        raise _missing("announces no scene classification", product.name, wanted)
    return False  # the masks of its Level-1C tell the rest


def _is_there(reader: BandReader, kind: str, name: str, needed_by: Collection[str]) -> bool:
    """Return whether a mask can be read; raise MissingFileError if it cannot, but is needed by some reasons."""
    product, file = reader.product, reader.product.mask_file(kind, name)
    if file is not None and product.source.has(file):
        forms = _FORMS.get(kind, (".gml",))  # the others are vectors
        if not file.lower().endswith(forms):
            where = product.source.where(file)
            raise MissingFileError(f"is no {' or '.join(forms)}", where=where, cure="fetch the product as it was")
        return True
    if not needed_by:
        return False
    if file is None:
        raise _missing(f"announces no MSK_{kind}{f' of {name}' if name else ''}", product.name, needed_by)
    raise _missing("is missing", product.source.where(file), needed_by)


def _missing(problem: str, where: Path | str, reasons: Collection[str]) -> MissingFileError:
    allowed = ", ".join(f"{reason}: 1" for reason in reasons)
    cure = f"fetch the product with its masks, or do without by allowing all: refuse: {{{allowed}}}"
    return MissingFileError(problem, where=where, cure=cure)


def _of_layers(reader: BandReader, name: str, wanted: list[str]) -> dict[str, np.ndarray]:
    layers = tuple(layer for reason in wanted for layer in _QUALIT[reason])
    planes = reader.mask("QUALIT", name, layers)
    assert planes is not None
    marked = {layer: plane > 0 for layer, plane in zip(layers, planes, strict=True) if plane.any()}
    told = {reason: [marked[layer] for layer in _QUALIT[reason] if layer in marked] for reason in wanted}
    return {reason: np.logical_or.reduce(masks) for reason, masks in told.items() if masks}


def _drawn(regions: list[Region], reader: BandReader, name: str) -> np.ndarray:
    return rasterize([(region, region.detector or 1) for region in regions], reader.product.grid(name))


def _seam(reader: BandReader, name: str) -> np.ndarray:
    planes = reader.mask("DETFOO", name)
    detectors = planes[0] if planes is not None else _drawn(reader.regions("DETFOO", name) or [], reader, name)
    seam = np.zeros(detectors.shape, bool)
    for axis in (0, 1):
        before, after = (np.moveaxis(detectors, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        differ = (before != after) & (before > 0) & (after > 0)
        across = np.moveaxis(seam, axis, 0)
        across[:-1] |= differ
        across[1:] |= differ
    return seam
