"""One point of a scaling curve: the trainer's own step on the ranks that a launcher has started."""

from __future__ import annotations

import os
import resource
import socket
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpc_sr.bench.exchange import time_exchange
from hpc_sr.bench.flops import flops_per_sample, peak_flops
from hpc_sr.bench.noise import patches_of_noise
from hpc_sr.bench.trainer import Trainer
from hpc_sr.comm.communicator import Comm
from hpc_sr.comm.launchers import describe_launch
from hpc_sr.data.dataset import Patches
from hpc_sr.environment import describe_environment
from hpc_sr.errors import RecipeError
from hpc_sr.logs import read_json_lines, track
from hpc_sr.recipe import Recipe, derived
from hpc_sr.report.scaling_model import QUANTILES
from hpc_sr.shards.reader import Store
from hpc_sr.tasks import Task, task_by_name

SCHEMA = 1
#: Patches of noise: more than read-ahead holds, few enough to write in a second.
_NOISE_ROWS = 512


def measure_point(recipe: Recipe, comm: Comm, steps: int, rounds: int) -> dict[str, Any]:
    """Return what `rounds` rounds of `steps` steps took, after one to warm up, and where. Collective.

    `samples_per_s` is of all ranks, the median over rounds between barriers. `shares` are parts of a rank's time,
    means over ranks and rounds. `step_s` are quantiles of a step's time on rank 0, `exchange` is what averaging a
    tensor takes by its size. Memory is the peak of the rank that has most, since its process began.
    Raises RecipeError if the recipe does not train, or has a store of another task.
    """
    model, _ = recipe.to_train()
    task = task_by_name(recipe.task)
    with tempfile.TemporaryDirectory(prefix="hpc_sr_benchmark_") as name:
        folder = Path(name)
        patches, patch_px, source = _patches(recipe, task, folder)
        with Trainer(recipe, patches, patch_px, comm, folder) as trainer:
            turns = track(range(rounds + 1), "rounds", shown=comm.rank == 0)
            seconds = [trainer.timed_round(steps) for _ in turns][1:]
            each_s = trainer.timed_steps(2 * steps)
        exchange = time_exchange(comm)
        lines = comm.broadcast(read_json_lines(folder / "metrics.jsonl"))[1:]
    size = trainer.schedule.global_batch_size
    speeds = [steps * size / took_s for took_s in seconds]
    speed = statistics.median(speeds)
    gpu = torch.cuda.get_device_name(comm.device) if comm.device.type == "cuda" else None
    flops, peak = flops_per_sample(model, task, patch_px), peak_flops(gpu, trainer.precision)
    environment = describe_environment(comm, recipe.model_dump(mode="json"), derived(recipe, comm.world_size))
    return {
        "bench": "scaling",
        "schema": SCHEMA,
        "setting": _setting(recipe, patch_px, trainer.precision),
        "backend": comm.backend,
        "launcher": describe_launch(os.environ).launcher,
        "world_size": comm.world_size,
        "nodes": len(set(comm.gather(socket.gethostname()))),
        "global_batch_size": size,
        "batch_size_per_rank": trainer.schedule.batch_size_per_rank,
        "accumulation_steps": trainer.schedule.accumulation_steps,
        "parameters": trainer.parameters,
        "data": source,
        "steps_per_round": steps,
        "rounds": rounds,
        "samples_per_s": speed,
        "samples_per_s_min_max": [min(speeds), max(speeds)],
        "step_s": _quantiles(each_s, size / speed),
        "exchange": exchange,
        "bucket_bytes": recipe.comm.bucket_mb * 2**20,
        "gradient_bytes": trainer.parameters * (2 if recipe.comm.compression == "fp16" else 4),
        "shares": {
            part: statistics.fmean(line[f"{part}_share"] for line in lines)
            for part in ("data_wait", "communication", "compute")
        },
        "peak_host_bytes": max(comm.gather(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)),
        "peak_device_bytes": max(comm.gather(torch.cuda.max_memory_allocated(comm.device))) if gpu else None,
        "flops_per_sample": flops,
        "flops_per_s_per_rank": flops * speed / comm.world_size,
        "fraction_of_peak": flops * speed / comm.world_size / peak if peak else None,
        "device": gpu or "cpu",
        "environment": environment,
    }


def _quantiles(seconds: list[float], mean_s: float) -> list[float]:
    """Return QUANTILES of steps that were waited for, scaled to the mean of those that were not."""
    return [float(t) for t in np.percentile(seconds, QUANTILES) * mean_s / statistics.fmean(seconds)]


def _patches(recipe: Recipe, task: Task, folder: Path) -> tuple[Patches, int, str]:
    """Return the training patches, their size and where they are from: the recipe's store, or noise without one."""
    if not (Path(recipe.store) / "manifest.json").exists() and recipe.preparation is not None:
        patch_px = recipe.preparation.patch_px
        return patches_of_noise(folder / "noise", task, patch_px, _NOISE_ROWS), patch_px, "noise"
    store = Store(recipe.store)
    if store.manifest.task != task.name:
        raise RecipeError(
            f"is of task {store.manifest.task!r}, the recipe of {task.name!r}",
            where=store.path,
            cure="give the store of this task",
        )
    patch_px = store.manifest.patch_px
    return Patches.of(store.split("train"), task, patch_px), patch_px, str(store.path)


def _setting(recipe: Recipe, patch_px: int, precision: str) -> dict[str, Any]:
    """Return what must not differ between the points of a curve."""
    train, (model, _) = recipe.train, recipe.to_train()
    return {
        "recipe": recipe.name,
        "task": recipe.task,
        **model.model_dump(mode="json", exclude_none=True),
        "patch_px": patch_px,
        "batch_size_per_rank": train.batch_size_per_rank,
        "accumulation_steps": train.accumulation_steps,
        "global_batch_size": train.global_batch_size,
        "precision": precision,
        "compile": train.compile,
        "optimizer": recipe.optimizer.name,
    }
