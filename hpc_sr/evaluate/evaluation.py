"""A whole evaluation: products or a store, scored under a protocol, as JSON and picture panels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpc_sr.comm.communicator import Comm, SerialComm
from hpc_sr.comm.failure import all_or_none
from hpc_sr.data.dataset import Patches
from hpc_sr.disk import read_json, sweep_partials, write_atomically
from hpc_sr.errors import DegradationError, ManifestError, OutputError, ProductError
from hpc_sr.evaluate.metrics.measure import CONSTANTS
from hpc_sr.evaluate.metrics.perceptual import Perceptual
from hpc_sr.evaluate.pictures import pictures_of
from hpc_sr.evaluate.protocols.patches import PatchMethod, baseline_on_patches, network_on_patches, score_patches
from hpc_sr.evaluate.protocols.scenes import Lineup, Scene
from hpc_sr.evaluate.scoring import tally_scene
from hpc_sr.evaluate.summary import summarise
from hpc_sr.evaluate.tally import Tally, of_all_ranks, said_of
from hpc_sr.evaluate.worst import worst_file
from hpc_sr.logs import logger, told_of
from hpc_sr.sentinel2.safe import BandReader, Product
from hpc_sr.shards.reader import Store
from hpc_sr.tasks import Units
from hpc_sr.weights.card import check_for_use, check_level

SCHEMA = 2

#: Returns a product as a scene, while the reader is open.
Stage = Callable[[Product, BandReader, Lineup], Scene]


def evaluate_products(
    lineup: Lineup,
    products: Sequence[Product],
    protocol: str,
    stage: Stage,
    comm: Comm,
    folder: Path,
    perceptual: Perceptual | None = None,
    stage_stamp: str = "",
) -> dict[str, Any]:
    """Return the evaluation of products that `stage` brings under a protocol. Collective.

    Each scene's scores and pictures go to `folder` as soon as they are there; a scene that is there already, of the
    same methods and pixels, is not scored again; `stage_stamp` tells what else `stage` looks at. As many products as
    make whole rounds go one to a rank, the windows of the rest are shared out: the numbers do not depend on it.
    One of several products that fails, in whatever way and on whichever rank, does not keep the others from being
    scored: its name and what went wrong stand in the evaluation as `failed`.
    Raises LevelError if a product is of another level than the network, OutputError if `folder` cannot be written;
    what went wrong with the only product, or with the first if all failed.
    """
    for network in lineup.networks:
        check_for_use(network.card, network.where)
        for product in products:
            check_level(network.card, product.level, product.name)
    methods = _digest_of_methods(lineup, protocol, perceptual)
    keys = {product.name: f"{methods} {stamp_of(product.path)} {stage_stamp}" for product in products}
    label = lineup.label(protocol)
    found = {name: _read_scored(_scored_path(folder, label, name), key) for name, key in keys.items()}
    found = comm.broadcast(found)  # ranks must agree on what is left, whatever they see of the folder
    left = [product for product in products if found[product.name] is None]
    if len(left) < len(products):
        logger.info("%d of %d scenes are scored already", len(products) - len(left), len(products))

    def score(product: Product, by: Comm) -> None:
        bands = lineup.task.target.bands

        def tally() -> tuple[Scene, dict[str, Tally]]:
            with BandReader(product) as reader:
                scene = stage(product, reader, lineup)
                tallies = tally_scene(scene, bands, by, perceptual)
                if by.rank == 0:
                    for name, content in pictures_of(scene, reader, lineup, protocol).items():
                        _write(folder / name, content)
            return scene, tallies

        def keep() -> None:
            if by.rank == 0:
                places = [tally.worst for name in lineup.named_networks if (tally := whole[name]).worst]
                pictures = folder / f"worst_{label}_{product.name}.npz"
                pictures.unlink(missing_ok=True)  # of an evaluation before
                if places:
                    _write(pictures, worst_file(places, bands))
                text = json.dumps({"key": keys[product.name], "scene": entry}) + "\n"
                _write(_scored_path(folder, label, product.name), text)

        scene, tallies = all_or_none(tally, by)
        whole = of_all_ranks(tallies, by)
        entry = _entry(scene) | said_of(whole, bands, lineup.task.scale, perceptual)
        all_or_none(keep, by)
        logger.info("%s, %s: %s", scene.name, protocol, _one_line(entry["methods"]))
        found[product.name] = entry

    failed: dict[str, str] = {}
    first: list[Exception] = []

    def try_to_score(product: Product, by: Comm) -> None:
        try:
            score(product, by)
        except Exception as error:
            if len(products) == 1:
                raise
            failed[product.name] = told_of(error, product.name)
            first.append(error)

    whole_rounds = len(left) // comm.world_size * comm.world_size if comm.world_size > 1 else 0
    for start in range(0, whole_rounds, comm.world_size):
        product = left[start + comm.rank]
        try_to_score(product, SerialComm(comm.device))
        for name, entry, failures in comm.gather((product.name, found[product.name], failed)):
            found[name] = entry
            failed |= failures
    for product in left[whole_rounds:]:
        try_to_score(product, comm)
    scenes = [entry for product in products if (entry := found[product.name]) is not None]
    if not scenes:
        raise first[0] if first else ProductError(next(iter(failed.values())), cure="mend it, then run again")
    level = lineup.networks[0].card.level if lineup.networks else products[0].level
    evaluation = _document(lineup, protocol, level, scenes)
    return evaluation | ({"failed": failed} if failed else {})


def evaluate_store(
    lineup: Lineup, store: Store, split: str, comm: Comm, perceptual: Perceptual | None = None
) -> dict[str, Any]:
    """Return the synthesis evaluation of a store's split, a scene for each product. Collective.

    Raises DegradationError or LevelError if the store was made for other models, ManifestError if the split is empty.
    """
    manifest, task = store.manifest, lineup.task
    if manifest.degradation != lineup.degradation:
        raise DegradationError(
            f"was made with {manifest.degradation!r}, the methods are for {lineup.degradation!r}",
            where=store.path,
            cure="evaluate on a store of the same degradation",
        )
    for network in lineup.networks:
        check_level(network.card, manifest.level, store.path)
    if not task.takes(manifest.task):
        raise ManifestError(
            f"is of task {manifest.task}, the methods of {task.name}",
            where=store.path,
            cure="give a store of their task",
        )
    entries = manifest.splits[split]
    if not entries:
        raise ManifestError(f"has no {split} patches", where=store.path, cure="name tiles in prepare.split")
    told = {product["product"]: product for product in manifest.products}
    peak = Units.of(manifest.units).peak
    if perceptual is not None:
        perceptual = replace(perceptual, white=peak)
    scenes = []
    for entry, shard in zip(entries, store.split(split), strict=True):
        facts = told[entry.products[0]]
        patches = Patches.of([shard], task, manifest.patch_px)
        methods = _patch_methods(lineup, facts.get("satellite", ""))
        scored = score_patches(patches, methods, task, comm, peak, perceptual)
        name = entry.products[0] if len(entry.products) == 1 else f"{len(entry.products)} products"
        provenance = {key: value for key, value in facts.items() if isinstance(value, str)}
        scenes.append(
            {
                "scene": name,
                "provenance": provenance,
                "size_px": [manifest.patch_px] * 2,
                "patches": entry.rows,
                **({"blocks": len(facts["blocks"]["bounds_m"])} if "blocks" in facts else {}),
                **scored,
            }
        )
    return _document(lineup, "synthesis", manifest.level, scenes) | {"constants": {**CONSTANTS, "max": peak}}


def document(
    about: dict[str, Any], bands: tuple[str, ...], scenes: list[dict[str, Any]], compared: str | None
) -> dict[str, Any]:
    """Return an evaluation as it is written down: what it is about, its scenes, and what they say together.

    `about` are protocol, task, scale, degradation, level, model and precision, None for what does not apply.
    """
    return {
        "schema": SCHEMA,
        **about,
        "bands": list(bands),
        "constants": CONSTANTS,
        "scenes": scenes,
        **summarise(scenes, compared),
    }


def write_evaluation(evaluation: dict[str, Any], path: Path) -> None:
    """Write an evaluation as JSON, whole or not at all. Raises OutputError if the path cannot be written."""
    _write(path, json.dumps(evaluation, indent=1) + "\n")


def _document(lineup: Lineup, protocol: str, level: str, scenes: list[dict[str, Any]]) -> dict[str, Any]:
    task, networks = lineup.task, lineup.named_networks
    about = {
        "protocol": protocol,
        "task": task.name,
        "scale": task.scale,
        "degradation": lineup.degradation,
        "level": level,
        "model": None,
        "precision": None,
    }
    for name, network in list(networks.items())[:1]:
        card = network.card
        told = {"family": name, "parameters": card.parameters, "step": card.step}
        about |= {"model": {**card.model.model_dump(mode="json"), **told}, "precision": network.precision}
    compared = next(iter(networks), "bicubic" if "bicubic" in lineup.names else lineup.names[0])
    return document(about, task.bands, scenes, compared)


def _patch_methods(lineup: Lineup, satellite: str) -> dict[str, PatchMethod]:
    task, degradation = lineup.task, lineup.degradation
    methods = {name: baseline_on_patches(name, task, degradation, satellite) for name in lineup.baselines}
    networks = lineup.named_networks
    return methods | {name: network_on_patches(one.generator, one.precision) for name, one in networks.items()}


def _entry(scene: Scene) -> dict[str, Any]:
    told = {"scene": scene.name, "provenance": scene.provenance, "size_px": [scene.height, scene.width]}
    return {**told, "blocks": len(scene.blocks)} if scene.blocks else told


def _digest_of_methods(lineup: Lineup, protocol: str, perceptual: Perceptual | None) -> str:
    """Return a digest of all that the scores of a scene depend on besides the scene."""
    told = [SCHEMA, protocol, lineup.task.name, lineup.degradation, lineup.names, CONSTANTS]
    for network in lineup.networks:
        told += [network.precision, network.trained.digest]
    digest = hashlib.sha256(json.dumps(told).encode())
    if perceptual is not None:
        digest.update(perceptual.fingerprint())
    return digest.hexdigest()


def stamp_of(path: Path) -> str:
    """Return a digest that changes when a file, or one of a folder's, does: of names, sizes and times."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    told = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _scored_path(folder: Path, protocol: str, scene: str) -> Path:
    return folder / "scenes" / f"{protocol}_{scene}.json"


def _read_scored(path: Path, key: str) -> dict[str, Any] | None:
    """Return a scene that was scored before under the same key; a file that says anything else is as good as none."""
    try:
        held = read_json(path, OutputError, "remove it")
    except OutputError:
        return None
    scene = held.get("scene")
    return scene if held.get("key") == key and isinstance(scene, dict) else None


def _one_line(methods: dict[str, Any]) -> str:
    rmse = {name: scores["total"]["rmse"] for name, scores in methods.items()}
    return ", ".join(f"{name} RMSE {'none' if value is None else f'{value:.2f}'}" for name, value in rmse.items())


def _write(path: Path, content: str | bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep_partials(path.parent, path.name)
        write_atomically(path, content)
    except OSError as error:
        raise OutputError(f"cannot be written ({error})", where=path, cure="give a writable path") from error
