"""From a store to the facts that a network keeps: units, band means, and the taps of the degradation."""

from __future__ import annotations

from hpc_sr.errors import ManifestError
from hpc_sr.models.facts import Facts, Law, Taps
from hpc_sr.sentinel2.degrade import DEGRADATIONS, kernel, taps_of_bands
from hpc_sr.shards.reader import Store
from hpc_sr.tasks import Target, Task, Units
from hpc_sr.train.looks import looks_of


def facts_of(store: Store, task: Task) -> Facts:
    """Return the patch size, units, band means, the degradation's taps and the looks of a store of this task.

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
    satellite = next((product["satellite"] for product in manifest.products if product.get("satellite")), "")
    laws = laws_of(manifest.degradation, task, satellite)
    return Facts(manifest.patch_px, Units.of(manifest.units), means, laws, looks_of(manifest.products))


def laws_of(degradation: str, task: Task, satellite: str) -> dict[str, Law]:
    """Return the taps of each target's degradation, by name; none for pictures and for degradations of theirs."""
    if degradation not in DEGRADATIONS or task.of_images:
        return {}
    return {target.name: _law(degradation, task, target, satellite) for target in task.targets}


def _law(degradation: str, task: Task, target: Target, satellite: str) -> Law:
    def taps(bands: tuple[str, ...]) -> Taps:
        rows = taps_of_bands(kernel(degradation, target.scale, bands, satellite))
        return tuple(map(tuple, rows.tolist()))

    return Law(taps(target.bands), taps(task.inputs[0].bands))
