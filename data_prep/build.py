"""Products become a store: read once, degrade, cut, write; shared out to ranks, resumable product by product.

Which patches a product gives, and in which order, depends on the recipe and the product alone, so any number of ranks
writes the same bytes. A finished product leaves a record; a later run with the same settings keeps it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import rasterio

from data_prep import statistics
from data_prep.catalog import assign_splits, find_products, open_products
from data_prep.options import PrepareOptions
from data_prep.patches import cut, patch_origins, refuse
from hpc_sr import __version__
from hpc_sr.errors import HpcSrError, OutputError, StoreError
from hpc_sr.logs import logger, track, write_atomically
from hpc_sr.sentinel2.pairs import synthesis_pair
from hpc_sr.sentinel2.safe import Product
from hpc_sr.shards.schema import FORMAT_VERSION, Manifest, ShardEntry, layers_of, write_manifest
from hpc_sr.shards.writer import ShardWriter
from hpc_sr.tasks import Task

#: Patches that are cut and written at a time: bounds memory, not the result.
_BLOCK_ROWS = 1024


class World(Protocol):
    """The ranks that share the work (hpc_sr.comm.mpi)."""

    rank: int
    world_size: int

    def gather(self, value: Any) -> list[Any]: ...

    def broadcast(self, value: Any) -> Any: ...


def prepare(options: PrepareOptions, task: Task, store: Path, world: World) -> Manifest:
    """Prepare the store and return its manifest. Collective: every rank calls it.

    All products are tried; the first error is raised on every rank afterwards, and what was finished is kept.
    """
    products = open_products(find_products(options.products), task)
    splits = assign_splits([product.tile for product in products], options.split)
    try:
        (store / "records").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot be written ({error})", where=store, cure="give a writable store folder") from error
    mine = products[world.rank :: world.world_size]
    records, errors = [], []
    for product in track(mine, "products", total=len(mine), shown=world.rank == 0):
        try:
            records.append(_prepare_product(product, splits[product.tile], options, task, store))
        except HpcSrError as error:
            errors.append(error)
    errors = [error for part in world.gather(errors) for error in part]
    if errors:
        raise errors[0]
    gathered = sorted((r for part in world.gather(records) for r in part), key=lambda r: r["product"])
    manifest = _manifest(gathered, options, task, products[0].level)
    if world.rank == 0:
        write_manifest(store, manifest)
    world.gather(None)
    return manifest


def _prepare_product(
    product: Product, split: str, options: PrepareOptions, task: Task, store: Path
) -> dict[str, Any]:
    """Return the record of a product, from the earlier run that finished it or by preparing it now."""
    record_path = store / "records" / f"{product.name}.json"
    fingerprint = _fingerprint(product, options, task)
    finished = _finished(record_path, fingerprint, store)
    if finished is not None:
        logger.info("%s: kept, %d patches", product.name, finished["patches"])
        return {**finished, "split": split}
    began = time.perf_counter()
    pair = synthesis_pair(product, task, options.degradation)
    height, width = pair.nodata.shape
    candidates = patch_origins(height, width, options.patch_px, options.stride_px, task.alignment_px)
    origins, refused = refuse(candidates, options.patch_px, {"nodata": pair.nodata, "saturated": pair.saturated})
    np.random.default_rng([options.seed, *hashlib.sha256(product.name.encode()).digest()]).shuffle(origins)
    path = store / "shards" / f"{product.name}.h5"
    layers = layers_of(task, options.patch_px)
    about = {"task": task.name, "degradation": options.degradation, **product.provenance()}
    parts = []
    with ShardWriter(path, layers, len(origins), about, options.layout) as writer:
        for start in range(0, len(origins), _BLOCK_ROWS):
            block = origins[start : start + _BLOCK_ROWS]
            patches = {
                layer.name: cut(pair.layers[layer.name], block, options.patch_px, layer.stride)
                for layer in task.layers
            }
            writer.append(patches, block)
            parts.append(statistics.measure(patches))
    record = {
        "fingerprint": fingerprint, **product.provenance(), "patches": len(origins), "refused": refused,
        "shard": asdict(writer.entry(store, product.name)), "sums": statistics.merge(parts),
    }  # fmt: skip
    write_atomically(record_path, json.dumps(record))
    took_s = time.perf_counter() - began
    logger.info("%s: %d patches, refused %s, %.1f s", product.name, len(origins), refused, took_s)
    return {**record, "split": split}


def _finished(record_path: Path, fingerprint: str, store: Path) -> dict[str, Any] | None:
    """Return the record of an earlier run if it was made with the same settings and its shard is still there."""
    try:
        record = json.loads(record_path.read_text(encoding="utf-8"))
        shard = store / record["shard"]["file"]
        whole = record["fingerprint"] == fingerprint and shard.stat().st_size == record["shard"]["bytes"]
    except (OSError, ValueError, KeyError):
        return None
    return record if whole else None


def _fingerprint(product: Product, options: PrepareOptions, task: Task) -> str:
    """Return a digest of all that decides a product's patches: settings, metadata and the band files' sizes."""
    settings = options.model_dump(mode="json", exclude={"products", "split"})
    sizes = {name: file.stat().st_size if file.exists() else None for name, file in sorted(product.files.items())}
    facts = [FORMAT_VERSION, task.name, settings, product.provenance(), product.radiometric_offset, sizes]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _manifest(records: list[dict[str, Any]], options: PrepareOptions, task: Task, level: str) -> Manifest:
    splits = {
        split: tuple(ShardEntry(**r["shard"]) for r in records if r["split"] == split and r["patches"])
        for split in ("train", "validation", "test")
    }
    training = [record["sums"] for record in records if record["split"] == "train" and record["patches"]]
    if not training:
        raise StoreError("every patch of the training split is refused", cure="see the refusals above; add products")
    told = (
        "product",
        "level",
        "processing_baseline",
        "satellite",
        "tile",
        "sensing_time",
        "split",
        "patches",
        "refused",
    )
    versions = {"hpc_sr": __version__, "python": platform.python_version(), "numpy": np.__version__}
    versions |= {"h5py": h5py.__version__, "rasterio": rasterio.__version__, "gdal": rasterio.__gdal_version__}
    return Manifest(
        format_version=FORMAT_VERSION, task=task.name, patch_px=options.patch_px, stride_px=options.stride_px,
        degradation=options.degradation, level=level, layout=options.layout, units="reflectance x 10000",
        layers=layers_of(task, options.patch_px), splits=splits,
        products=tuple({key: record[key] for key in told} for record in records),
        statistics=statistics.finish(statistics.merge(training)), software=versions,
    )  # fmt: skip
