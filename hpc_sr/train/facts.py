"""From a store to the facts that a network keeps: units, band means, and the taps of the degradation."""

from __future__ import annotations

import numpy as np

from hpc_sr.errors import ManifestError
from hpc_sr.models.facts import Facts, Law, Taps
from hpc_sr.sentinel2.degrade import DEGRADATIONS, kernel, response_taps
from hpc_sr.shards.reader import Store
from hpc_sr.tasks import Target, Task, Units


def facts_of(store: Store, task: Task) -> Facts:
    """Return the patch size, units, band means and the degradation's taps of a store of this task.

    The taps are those of the first product's satellite: the same for all as long as `sentinel2.bands` says so.
    """
    manifest = store.manifest
    try:
        means = {layer.name: tuple(manifest.statistics[layer.name]["mean"]) for layer in task.inputs}
    except KeyError as error:
        raise ManifestError(
            f"has no statistics of {error}",
            where=store.path,
            cure="run `hpc-sr prepare` again: finished shards are kept",
        ) from error
    laws = {}
    if manifest.degradation in DEGRADATIONS and not task.of_images:
        satellite = next((product["satellite"] for product in manifest.products if product.get("satellite")), "")
        laws = {target.name: _law(manifest.degradation, task, target, satellite) for target in task.targets}
    return Facts(manifest.patch_px, Units.of(manifest.units), means, laws)


def _law(degradation: str, task: Task, target: Target, satellite: str) -> Law:
    def taps(bands: tuple[str, ...]) -> Taps:
        sigmas = kernel(degradation, target.scale, bands, satellite).sigma_px
        rows = [response_taps(sigma, target.scale) for sigma in sigmas]
        longest = max(map(len, rows))  # of all bands one length, the window of a coarse pixel in the middle
        return tuple(tuple(np.pad(row, (longest - len(row)) // 2).tolist()) for row in rows)

    return Law(taps(target.bands), taps(task.inputs[0].bands))
