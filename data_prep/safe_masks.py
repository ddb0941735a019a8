"""What the masks of a product tell besides its pixels: clouds, lost lines, detectors; as rasters and as polygons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

NODATA_DN = 0
#: The layers of MSK_QUALIT, counted from 1, by the names that vector masks use (product specification).
QUALITY_LAYERS = (
    "ANC_LOST",
    "ANC_DEG",
    "MSI_LOST",
    "MSI_DEG",
    "QT_DEFECTIVE_PIXELS",
    "QT_NODATA_PIXELS",
    "QT_PARTIALLY_CORRECTED_PIXELS",
    "QT_SATURATED_PIXELS_L1A",
)
#: The layers of MSK_CLASSI, counted from 1; vector masks before 04.00 call the first two OPAQUE and CIRRUS.
CLASS_LAYERS = ("cloud", "cirrus", "snow")

_SATURATED = QUALITY_LAYERS[-1]
#: Which vector mask holds which quality layer.
_VECTOR_KIND = {
    "TECQUA": QUALITY_LAYERS[:4],
    "DEFECT": QUALITY_LAYERS[4:5],
    "NODATA": QUALITY_LAYERS[5:7],
    "SATURA": QUALITY_LAYERS[7:],
}
_ANY_DETECTOR = 6
_CLASS_SATURATED, _CLASS_VEGETATION, _CLASS_BARE, _CLASS_WATER = 1, 4, 5, 6
_CLASS_OF_MARK = {"snow": 11, "cirrus": 10, "shadow": 3, "cloud": 9}
_PX_OF_60M_AT_20M = 3


@dataclass(frozen=True)
class Marks:
    """Marks to write into a product's masks, boolean unless said otherwise.

    `classes`   (H, W) at 60 m by "cloud", "cirrus", "snow", and "shadow", which SCL alone holds. L1C before 04.00 has
                no place for snow.
    `quality`   (H, W) on the band's own grid by band and name of QUALITY_LAYERS.
    `detectors` (H, W) uint8 on the band's own grid by band: the detector's number 1..12. Without it, 6 everywhere.
    """

    classes: Mapping[str, np.ndarray] = field(default_factory=dict)
    quality: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    detectors: Mapping[str, np.ndarray] = field(default_factory=dict)

    def quality_layers(self, name: str, saturated: np.ndarray) -> dict[int, np.ndarray]:
        """Return the marked layers of a band's MSK_QUALIT as 0 and 1; `saturated` is what was clamped."""
        return {
            index: layer.astype(np.uint8)
            for index, kind in enumerate(QUALITY_LAYERS, start=1)
            if (layer := self._quality(name, kind, saturated)) is not None and layer.any()
        }

    def class_layers(self) -> dict[int, np.ndarray]:
        """Return the marked layers of MSK_CLASSI as 0 and 1."""
        return {i: self.classes[k].astype(np.uint8) for i, k in enumerate(CLASS_LAYERS, start=1) if k in self.classes}

    def footprint(self, name: str, dn: np.ndarray) -> np.ndarray:
        """Return the band's detector numbers (uint8), 0 where there is no data."""
        numbers = self.detectors.get(name, np.uint8(_ANY_DETECTOR))
        return (dn != NODATA_DN) * np.asarray(numbers, np.uint8)

    def vector_masks(
        self, name: str, dn: np.ndarray, saturated: np.ndarray
    ) -> dict[str, list[tuple[str, str, np.ndarray]]]:
        """Return what a band's vector masks outline: by kind of file, (mask type, feature id, mask)."""
        told = {
            kind: [(t, t, m) for t in types if (m := self._quality(name, t, saturated, dn)) is not None]
            for kind, types in _VECTOR_KIND.items()
        }
        numbers = self.footprint(name, dn)
        told["DETFOO"] = [
            ("DETECTOR_FOOTPRINT", f"detector_footprint-{name}-{number:02d}", numbers == number)
            for number in np.unique(numbers)
            if number
        ]
        return told

    def vector_clouds(self) -> list[tuple[str, str, np.ndarray]]:
        """Return what MSK_CLOUDS outlines, as `vector_masks` does."""
        return [(t, t, self.classes[k]) for k, t in (("cloud", "OPAQUE"), ("cirrus", "CIRRUS")) if k in self.classes]

    def scene_classes(self, dn: Mapping[str, np.ndarray], saturated: np.ndarray) -> np.ndarray:
        """Return SCL at 20 m: nodata, saturated, marked classes, and by two thresholds vegetation, water, bare."""
        red = dn["B04"].reshape(saturated.shape[0], 2, saturated.shape[1], 2).mean((1, 3), dtype=np.float32)
        near_infrared, shortwave = dn["B8A"].astype(np.float32), dn["B11"]
        classes = np.full(saturated.shape, _CLASS_BARE, np.uint8)
        classes[near_infrared - red > 0.4 * (near_infrared + red)] = _CLASS_VEGETATION
        classes[(near_infrared < 600) & (shortwave < 400)] = _CLASS_WATER
        for kind, number in _CLASS_OF_MARK.items():
            if kind in self.classes:
                classes[np.kron(self.classes[kind], np.ones((_PX_OF_60M_AT_20M,) * 2, bool))] = number
        classes[saturated] = _CLASS_SATURATED
        classes[dn["B8A"] == NODATA_DN] = 0
        return classes

    def _quality(self, name: str, kind: str, saturated: np.ndarray, dn: np.ndarray | None = None) -> np.ndarray | None:
        marked = self.quality.get(name, {}).get(kind)
        if kind == _SATURATED:
            return saturated if marked is None else saturated | marked
        if kind == "QT_NODATA_PIXELS" and dn is not None:
            return dn == NODATA_DN if marked is None else (dn == NODATA_DN) | marked
        return marked
