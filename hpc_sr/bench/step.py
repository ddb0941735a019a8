"""The trainer's step, data and bookkeeping included, against a bare forward-backward-step loop on tensors in memory.

    python -m hpc_sr.bench.step [--task s2x] [--store DIR] [--width 48] [--batch 16] [--precision auto] [--compile]
                                [--stage device]
                                [--steps 20] [--rounds 7]

Without --store, patches of random values are written first. Both use the same number type, optimizer and compiler.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.amp import GradScaler

from data_prep.options import PrepareOptions
from hpc_sr.bench.flops import flops_per_sample, peak_flops
from hpc_sr.bench.noise import patches_of_noise
from hpc_sr.bench.pairs import print_result, time_in_turn
from hpc_sr.bench.trainer import Trainer
from hpc_sr.comm.communicator import SerialComm
from hpc_sr.comm.launch import pin_device
from hpc_sr.data.dataset import Patches
from hpc_sr.losses.content import l1
from hpc_sr.models.build import build_generator
from hpc_sr.models.facts import Facts
from hpc_sr.models.options import S2xOptions
from hpc_sr.models.precision import autocast
from hpc_sr.recipe import Recipe, TaskName
from hpc_sr.shards.reader import Store
from hpc_sr.tasks import Task, task_by_name
from hpc_sr.train.optimizers import build_optimizer
from hpc_sr.train.options import Precision, ScheduleOptions, TrainOptions

#: Sizes of the published training patches in target pixels.
PATCH_PX = {"s2x": 32, "s6x": 96}


def main() -> None:
    """Print samples per second of both, their ratio, the trainer's share of waiting, and of a GPU's peak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=tuple(PATCH_PX), default="s2x")
    parser.add_argument("--store", type=Path)
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--stage", choices=("device",), help="where patches lie [in their store]")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    task = task_by_name(options.task)
    with tempfile.TemporaryDirectory() as folder:
        if options.store:
            store = Store(options.store)
            patch_px = store.manifest.patch_px
            patches = Patches.of(store.split("train"), task, patch_px)
        else:
            patch_px = PATCH_PX[task.name]
            patches = patches_of_noise(Path(folder) / "noise", task, patch_px, 512)
        _compare(options, patches, patch_px, Path(folder))


def recipe_of(task: TaskName, width: int, batch: int, precision: Precision, **train: Any) -> Recipe:
    """Return a recipe of the multi-branch network for patches of noise; `train` are more of its train options."""
    px = PATCH_PX[task]
    return Recipe(
        name="bench",
        task=task,
        store="none",
        prepare=PrepareOptions(products=("none",), patch_px=px, stride_px=px),
        model=S2xOptions(family="s2x", width=width),
        schedule=ScheduleOptions(total_samples=10**9, lr_scaling="none"),
        train=TrainOptions(batch_size_per_rank=batch, precision=precision, **train),
    )


def _compare(options: argparse.Namespace, patches: Patches, patch_px: int, folder: Path) -> None:
    told = {"compile": options.compile, "stage": options.stage}
    recipe = recipe_of(options.task, options.width, options.batch, options.precision, **told)
    task, device = task_by_name(options.task), pin_device(local_rank=0)
    with Trainer(recipe, patches, patch_px, SerialComm(device), folder) as trainer:
        bare = _bare_loop(recipe, task, patch_px, device, trainer.precision)

        waited_s: list[float] = []
        timed = time_in_turn(
            lambda: waited_s.append(trainer.run(options.steps)), lambda: bare(options.steps), options.rounds
        )
    samples = options.steps * options.batch
    speed = samples / timed["first_s"]
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    flops, peak = flops_per_sample(recipe.to_train()[0], task, patch_px), peak_flops(gpu, trainer.precision)
    print_result(
        "step",
        task=options.task,
        width=options.width,
        parameters=trainer.parameters,
        batch=options.batch,
        patch_px=patch_px,
        precision=trainer.precision,
        **told,
        trainer_samples_per_s=speed,
        bare_samples_per_s=samples / timed["second_s"],
        ratio_to_bare=timed["second_over_first"],
        ratio_min_max=timed["second_over_first_min_max"],
        data_wait_share=statistics.median(waited_s[1:]) / timed["first_s"],
        flops_per_sample=flops,
        flops_per_s=flops * speed,
        fraction_of_peak=flops * speed / peak if peak else None,
    )


def _bare_loop(
    recipe: Recipe, task: Task, patch_px: int, device: torch.device, precision: str
) -> Callable[[int], None]:
    """Return what takes so many steps on one batch that is on the device, and waits for them."""
    model, _ = recipe.to_train()
    generator = build_generator(model, task, Facts(patch_px)).to(device)
    forward = torch.compile(generator) if recipe.train.compile else generator
    optimizer = build_optimizer(generator.parameters(), recipe.optimizer)
    scaler = GradScaler(device.type, enabled=precision == "fp16")
    batch = recipe.train.batch_size_per_rank
    *inputs, target = (torch.rand(batch, *task.shape(layer, patch_px), device=device) for layer in task.layers)

    def steps(count: int) -> None:
        for _ in range(count):
            with autocast(device, precision):
                (estimate,) = forward(*inputs).targets
            loss = l1(estimate.float(), target)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        float(loss.detach())

    return steps


if __name__ == "__main__":
    main()
