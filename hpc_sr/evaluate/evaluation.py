"""A whole evaluation: products or a store, one or both protocols, into JSON and picture panels."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from hpc_sr.comm.communicator import Comm
from hpc_sr.data.dataset import Patches
from hpc_sr.errors import DegradationError, ManifestError, OutputError
from hpc_sr.evaluate.metrics import CONSTANTS
from hpc_sr.evaluate.protocol import (
    Scene,
    consistency_scene,
    panel_of,
    patch_methods,
    score_patches,
    score_scene,
    synthesis_scene,
)
from hpc_sr.infer.predict import Predictor
from hpc_sr.logs import logger, write_atomically
from hpc_sr.sentinel2.safe import BandReader, Product
from hpc_sr.shards.reader import Store
from hpc_sr.weights import Card, check_level

PROTOCOLS = ("synthesis", "consistency")
_PANEL_PX = 192


def evaluate_products(
    predictor: Predictor, card: Card, products: list[Product], protocol: str, comm: Comm, folder: Path | None
) -> dict[str, Any]:
    """Return the evaluation of products under a protocol; panels for pictures go to `folder` if given. Collective.

    Raises LevelError if a product is of another level than the model.
    """
    for product in products:
        check_level(card, product.level, product.name)
    scenes = []
    for product in products:
        began = time.perf_counter()
        with BandReader(product) as reader:
            scene = _scene(product, reader, predictor, card, protocol)
            methods = score_scene(scene, comm, predictor.generator.task)
            if comm.rank == 0 and folder is not None:
                _save_panel(folder / f"panels_{protocol}_{scene.name}.npz", scene, predictor)
        scenes.append(_entry(scene.name, scene.provenance, [scene.height, scene.width], methods, began))
        logger.info("%s, %s: %s", scene.name, protocol, _one_line(methods))
    return _summary(predictor, card, protocol, scenes)


def evaluate_store(predictor: Predictor, card: Card, store: Store, split: str, comm: Comm) -> dict[str, Any]:
    """Return the synthesis evaluation of a store's split, a scene for each product. Collective.

    Raises DegradationError or LevelError if the store was made for other models, ManifestError if the split is empty.
    """
    manifest, task = store.manifest, predictor.generator.task
    if manifest.degradation != card.degradation:
        raise DegradationError(
            f"was made with {manifest.degradation!r}, the model trained on {card.degradation!r}", where=store.path,
            cure="evaluate on a store of the same degradation",
        )  # fmt: skip
    check_level(card, manifest.level, store.path)
    if manifest.task != card.task:
        raise ManifestError(
            f"is of task {manifest.task}, the model of {card.task}", where=store.path, cure="give a store of its task"
        )
    entries = manifest.splits[split]
    if not entries:
        raise ManifestError(f"has no {split} patches", where=store.path, cure="name tiles in prepare.split")
    told = {product["product"]: product for product in manifest.products}
    methods = patch_methods(predictor.generator, task, predictor.precision, card.family)
    scenes = []
    for entry, shard in zip(entries, store.split(split), strict=True):
        began = time.perf_counter()
        scores = score_patches(Patches.of([shard], task, manifest.patch_px), methods, comm, task)
        provenance = {k: v for k, v in told[entry.products[0]].items() if isinstance(v, str)}
        name = entry.products[0] if len(entry.products) == 1 else f"{len(entry.products)} products"
        scenes.append(_entry(name, provenance, [manifest.patch_px] * 2, scores, began) | {"patches": entry.rows})
    return _summary(predictor, card, "synthesis", scenes)


def write_evaluation(evaluation: dict[str, Any], path: Path) -> None:
    """Write an evaluation as JSON, whole or not at all. Raises OutputError if the path cannot be written."""
    _write(path, json.dumps(evaluation, indent=1) + "\n")


def _scene(product: Product, reader: BandReader, predictor: Predictor, card: Card, protocol: str) -> Scene:
    if protocol == "synthesis":
        return synthesis_scene(product, card.degradation, predictor, card.family)
    return consistency_scene(product, reader, card.degradation, predictor, card.family)


def _entry(
    name: str, provenance: dict[str, str], size_px: list[int], methods: dict[str, Any], began: float
) -> dict[str, Any]:
    took_s = round(time.perf_counter() - began, 2)
    return {"scene": name, "provenance": provenance, "size_px": size_px, "methods": methods, "seconds": took_s}


def _summary(predictor: Predictor, card: Card, protocol: str, scenes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the document: the mean over scenes of every score, and the generator's ratio to bicubic."""
    task = predictor.generator.task
    mean = {
        method: {
            "total": _means([scene["methods"][method]["total"] for scene in scenes]),
            "bands": {
                band: _means([scene["methods"][method]["bands"][band] for scene in scenes])
                for band in task.target.bands
            },
        }
        for method in ("bicubic", card.family)
    }
    ours, base = mean[card.family]["total"], mean["bicubic"]["total"]
    ratio = {key: ours[key] / base[key] if base[key] else None for key in ("rmse", "rmse_band_mean")}
    return {
        "schema": 1, "protocol": protocol, "task": task.name, "scale": task.scale, "degradation": card.degradation,
        "level": card.level, "bands": list(task.target.bands), "constants": CONSTANTS,
        "model": {**card.model, "family": card.family, "parameters": card.parameters, "step": card.step},
        "precision": predictor.precision, "scenes": scenes, "mean": mean, "ratio_to_bicubic": ratio,
    }  # fmt: skip


def _means(rows: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Return the mean of each score over images; undefined on one image is undefined on all."""
    return {
        key: None if any(row[key] is None for row in rows) else sum(row[key] for row in rows) / len(rows)
        for key in rows[0]
    }


def _save_panel(path: Path, scene: Scene, predictor: Predictor) -> None:
    task = predictor.generator.task
    arrays = panel_of(scene, _PANEL_PX, predictor.generator.multiple_px)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, bands=task.target.bands, guide_bands=task.inputs[0].bands, **arrays)
    _write(path, buffer.getvalue())


def _one_line(methods: dict[str, Any]) -> str:
    return ", ".join(f"{name} RMSE {scores['total']['rmse']:.2f}" for name, scores in methods.items())


def _write(path: Path, content: str | bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise OutputError(f"cannot be written ({error})", where=path, cure="give a writable path") from error
