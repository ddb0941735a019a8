"""A store of made-up patches of any task, the same numbers everywhere: nothing in it is decoded or degraded.

And recipes to train on one.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.config import parse
from hpc_sr.recipe import Recipe
from hpc_sr.shards.schema import FORMAT_VERSION, Manifest, ShardEntry, layers_of, read_manifest, write_manifest
from hpc_sr.shards.writer import ShardWriter
from hpc_sr.tasks import Task


def made_store(folder: Path, task: Task, patch_px: int, rows: int = 64, held_out: int = 8) -> Path:
    """Write a store whose layers show one ground: random fields and fine detail, seen on each layer's grid."""
    rng = np.random.default_rng([rows, patch_px])
    splits = {
        "train": (_shard(folder, "train", task, patch_px, rows, rng),),
        "validation": (_shard(folder, "validation", task, patch_px, held_out, rng),),
        "test": (),
    }
    statistics = {
        layer.name: {"mean": [2000.0 + 100 * k for k in range(len(layer.bands))], "std": [800.0] * len(layer.bands)}
        for layer in task.layers
    }
    product = {"product": "made-up", "split": "train", "satellite": "S2A"}
    of_bands = any(layer.gsd_m for layer in task.layers)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        task=task.name,
        patch_px=patch_px,
        stride_px=patch_px,
        degradation="wald",
        level="L1C" if of_bands else "",
        layout="contiguous",
        units="reflectance x 10000" if of_bands else "8 bit",
        layers=layers_of(task, patch_px),
        splits=splits,
        products=(product,),
        skipped=(),
        statistics=statistics,
        sums={},
        settings={},
        software={},
    )
    write_manifest(folder, manifest)
    return folder


def _shard(folder: Path, name: str, task: Task, patch_px: int, rows: int, rng: np.random.Generator) -> ShardEntry:
    of_bands = any(layer.gsd_m for layer in task.layers)
    fields = rng.random((rows, 1, patch_px // 4 + 1, patch_px // 4 + 1))
    ground = np.kron(fields, np.ones((1, 1, 4, 4)))[..., :patch_px, :patch_px]
    ground = ground + 0.1 * rng.standard_normal(ground.shape)
    values = {}
    for layer in task.layers:
        gain = 0.5 + rng.random((1, len(layer.bands), 1, 1))
        side = patch_px // layer.stride
        seen = (ground * gain).reshape(rows, -1, side, layer.stride, side, layer.stride).mean((3, 5))
        stored = 500 + 3000 * seen if of_bands else np.clip(40 + 100 * seen, 0, 255)
        values[layer.name] = np.rint(stored).astype(np.int16)
    (folder / "shards").mkdir(parents=True, exist_ok=True)
    path = folder / "shards" / f"{name}.h5"
    layers = layers_of(task, patch_px)
    with ShardWriter(path, layers, rows, ("made-up",), {}, "contiguous") as writer:
        writer.append(values, np.zeros((rows, 2), np.int32))
    return writer.entry(folder)


def made_recipe(run: Path, store: Path, model: dict, total_samples: int, **sections: dict) -> Recipe:
    """Return the recipe of a run in a directory: batches of 8, every step told, validated and saved at the end."""
    train = {"batch_size_per_rank": 8, "precision": "fp32", "log_every_steps": 1, "runs": str(run.parent)}
    content = {
        "name": run.name,
        "task": read_manifest(store).task,
        "store": str(store),
        "model": model,
        "optimizer": {"base_lr": 1e-3},
        "schedule": {"total_samples": total_samples, "lr_scaling": "none"},
        **sections,
    }
    return parse(Recipe, {**content, "train": train | sections.get("train", {})}, "a test")


def train_lines(recipe: Recipe) -> list[dict]:
    """Train, or go on training, in this process and return the lines of all steps of the run."""
    from hpc_sr.cli.train import train_recipe

    train_recipe(recipe, SerialComm())
    lines = map(json.loads, (recipe.run_directory / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == "train"]
