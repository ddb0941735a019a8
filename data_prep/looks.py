"""What a product's patches look like, as the few numbers that its line in the manifest keeps."""

from __future__ import annotations

import numpy as np

from hpc_sr.sentinel2.looks import looks_of_patches
from hpc_sr.tasks import Task

#: Of each measure and band: what a twentieth of the patches is below, their mean, and what a twentieth is above.
Seen = dict[str, dict[str, list[float]]]
_ENDS = 0.05, 0.95
#: So many patches tell what a product looks like. They come in random order.
_ENOUGH = 256


def measure(patches: dict[str, np.ndarray], task: Task) -> Seen | None:
    """Return the levels and what is unexplained of some of a product's patches; None for pictures.

    Only targets that are the truth as it was measured tell of the ground at its own scale.
    """
    if task.of_images:
        return None
    guides, seen = task.inputs[0], Seen(levels={}, unexplained={})
    for target in task.targets:
        if task.training_scale(target) == 1:
            found = looks_of_patches(patches[guides.name][:_ENOUGH], patches[target.name][:_ENOUGH])
            for kind, bands, values in zip(seen, ((*guides.bands, *target.bands), target.bands), found, strict=True):
                low, high = np.quantile(values, _ENDS, axis=0)
                told = np.stack((low, values.mean(0), high), 1).round(3)
                seen[kind] |= dict(zip(bands, told.tolist(), strict=True))
    return seen
