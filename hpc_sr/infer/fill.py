"""Nodata in what a network reads: filled from the nearest measured pixels, the same for every tiling.

A network has no value for "unknown", and a constant would be a cliff that it sharpens. Pixels farther from measured
ones than the network looks do not matter: the caller gives that distance as reach.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hpc_sr.infer.windows import Area

#: Returns float32 values (H, W) of a band and where they are missing, for an area inside the image.
ReadPlane = Callable[[Area], tuple[np.ndarray, np.ndarray]]


def read_filled(read: ReadPlane, area: Area, height: int, width: int, reach_px: int) -> np.ndarray:
    """Return the (H, W) values of an area of an image of `height` x `width`, missing ones filled.

    Filled values depend on the image within `reach_px` of them alone, so they do not depend on the area asked for.
    """
    values, missing = read(area)
    if not missing.any():
        return values
    around = area.grown(reach_px).within(height, width)
    return fill_missing(*read(around), reach_px)[area.relative_to(around).slices]


def fill_missing(values_HW: np.ndarray, missing_HW: np.ndarray, reach_px: int) -> np.ndarray:
    """Return the values with missing pixels filled ring by ring, inwards: each is the mean of its known neighbours.

    Of the eight neighbours, as known after the ring before. Pixels farther than `reach_px` from all measured ones
    become 0. Float32.
    """
    # A frame of pixels that are neither known nor to be filled spares the neighbours' bounds.
    values = np.pad(np.where(missing_HW, np.float32(0), values_HW).astype(np.float32), 1)
    flat, known, missing = values.ravel(), np.pad(~missing_HW, 1).ravel(), np.pad(missing_HW, 1).ravel()
    row = values.shape[1]
    neighbours = np.array([-row - 1, -row, -row + 1, -1, 1, row - 1, row, row + 1])
    waiting = np.flatnonzero(missing)
    for _ in range(reach_px):
        around = waiting[:, None] + neighbours
        count = known[around].sum(1)
        ring, around, count = waiting[count > 0], around[count > 0], count[count > 0]
        if not ring.size:
            break
        flat[ring] = flat[around].sum(1, dtype=np.float64) / count  # what is not known is 0
        known[ring], missing[ring] = True, False
        nearby = around.ravel()
        waiting = np.unique(nearby[missing[nearby]])
    return values[1:-1, 1:-1]
