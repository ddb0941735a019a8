"""How a model was made, as far as its run directory tells; no path and no host name of the machine it was made on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpc_sr.config import load_yaml
from hpc_sr.disk import read_json
from hpc_sr.errors import HpcSrError, RunDirectoryError
from hpc_sr.logs import logger
from hpc_sr.shards.schema import Manifest, read_manifest
from hpc_sr.weights.card import Card

_SCORES = ("rmse", "rmse_band_mean", "sre", "sam", "ergas", "psnr", "bpsnr", "ssim", "uiq")
_ENVIRONMENT = ("git_commit", "python", "platform", "packages", "backend", "world_size", "device")
_PRODUCT = ("product", "level", "processing_baseline", "satellite", "tile", "sensing_time", "split", "patches")


def provenance_of(run_dir: Path, card: Card) -> dict[str, Any]:
    """Return `name`, `training` (recipe, environment, data) and `scores` of a run.

    What is absent or cannot be understood is None or empty, with a warning in the latter case: weights are worth
    exporting without their history.
    """
    recipe = _if_readable(run_dir / "recipe.yaml", load_yaml) or {}
    environment = _if_readable(run_dir / "environment.json", _read_json) or {}
    return {
        "name": recipe.get("name") or run_dir.resolve().name,
        "training": {
            "recipe": _without_paths({key: value for key, value in recipe.items() if key not in ("name", "comm")}),
            "environment": {key: environment[key] for key in _ENVIRONMENT if key in environment},
            "data": _data(_find_store(run_dir, recipe), card),
        },
        "scores": _scores(run_dir / "evaluate", card),
    }


def _if_readable(path: Path, read: Callable[[Path], Any]) -> Any:
    if not path.exists():
        return None
    try:
        return read(path)
    except (OSError, ValueError, HpcSrError) as error:
        logger.warning("%s cannot be understood, the card goes without it (%s)", path, error)
        return None


def _read_json(path: Path) -> dict[str, Any]:
    return read_json(path, RunDirectoryError, "remove it")


def _without_paths(value: Any) -> Any:
    """Return a recipe's values without those that are paths: they tell of a machine, not of a model."""
    if isinstance(value, dict):
        kept = {key: _without_paths(entry) for key, entry in value.items()}
        return {key: kept[key] for key in kept if kept[key] is not None and key not in ("runs", "stage", "store")}
    if isinstance(value, list):
        entries = [entry for entry in map(_without_paths, value) if entry is not None]
        return entries if entries or not value else None
    return None if isinstance(value, str) and "/" in value else value


def _find_store(run_dir: Path, recipe: dict[str, Any]) -> Path | None:
    """Return the store of a recipe, its path relative to where training was started: above the run, mostly."""
    store = recipe.get("store")
    if not isinstance(store, str):
        return None
    places = [folder / store for folder in (*run_dir.resolve().parents, Path.cwd())]
    return next((path for path in places if (path / "manifest.json").exists()), None)


def _data(store: Path | None, card: Card) -> dict[str, Any] | None:
    """Return what a store's manifest says of the training data, if the store is there and fits the model."""
    manifest: Manifest | None = None if store is None else _if_readable(store, read_manifest)
    if manifest is None:
        return None
    kind = (manifest.task, manifest.degradation, manifest.level, manifest.patch_px)
    if kind != (card.task, card.degradation, card.level, card.patch_px):
        logger.warning("%s is not what the model was trained on, the card goes without it", store)
        return None
    return {
        "patches": {split: manifest.rows(split) for split in manifest.splits},
        "products": [{key: line[key] for key in _PRODUCT if key in line} for line in map(dict, manifest.products)],
        "software": manifest.software,
    }


def _scores(folder: Path, card: Card) -> dict[str, Any]:
    """Return the mean scores of evaluations of this very network by method and protocol, and target of several."""
    scores = {}
    for path in sorted(folder.glob("*.json")):
        evaluation = _if_readable(path, _read_json)
        try:
            if evaluation is None or not evaluation["model"]:
                continue
            if evaluation["model"]["step"] != card.step:
                step = evaluation["model"]["step"]
                logger.warning("%s is of step %s, exported is %d: the card goes without it", path, step, card.step)
                continue
            scores[path.stem] = {
                "scenes": [scene["scene"] for scene in evaluation["scenes"]],
                "methods": {
                    method: {
                        "total": {key: mean["total"][key] for key in _SCORES if key in mean["total"]},
                        "rmse_of_bands": {band: row.get("rmse") for band, row in mean["bands"].items()},
                    }
                    for method, mean in evaluation["mean"].items()
                },
            }
        except (KeyError, TypeError, AttributeError) as error:
            logger.warning("%s is no evaluation, the card goes without it (%r)", path, error)
    return scores
