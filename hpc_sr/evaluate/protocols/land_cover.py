"""Classes of the ground: the scene classification of a level-2A product on the grid of the scores."""

from __future__ import annotations

import numpy as np

#: The classes of the scene classification (product specification, SCL); what is no measurement has no scores.
CLASSES = {
    2: "dark",
    3: "shadow",
    4: "vegetation",
    5: "bare soil",
    6: "water",
    7: "unclassified",
    8: "cloud",
    9: "cloud",
    10: "thin cirrus",
    11: "snow",
}
_SCL_GSD_M = 20
_CODES = 12


def classes_on(scl_HW: np.ndarray, gsd_m: int, shape: tuple[int, int]) -> np.ndarray:
    """Return the classification (20 m, uint8) on a grid of 10, 20 or 60 m, cut to `shape`.

    Repeated where that is finer; where it is coarser the most frequent class, the lower code of equal ones.
    """
    if gsd_m <= _SCL_GSD_M:
        ratio = _SCL_GSD_M // gsd_m
        return np.repeat(np.repeat(scl_HW, ratio, 0), ratio, 1)[: shape[0], : shape[1]]
    ratio = gsd_m // _SCL_GSD_M
    blocks = scl_HW[: shape[0] * ratio, : shape[1] * ratio].reshape(shape[0], ratio, shape[1], ratio)
    counts = np.stack([(blocks == code).sum((1, 3), dtype=np.uint8) for code in range(_CODES)])
    return counts.argmax(0).astype(np.uint8)


def class_masks(codes_HW: np.ndarray) -> dict[str, np.ndarray]:
    """Return where each class is, (H, W) bool by name, of those that are there."""
    found: dict[str, np.ndarray] = {}
    for code in np.unique(codes_HW).tolist():
        if code in CLASSES:
            name = CLASSES[code]
            found[name] = found.get(name, False) | (codes_HW == code)
    return found
