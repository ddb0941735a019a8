"""What a base and back-projection inside a network cost: S2x or S6x with them against the same network without.

    python -m hpc_sr.bench.bases [--task s2x] [--width 128] [--window 480] [--batch 0] [--precision auto] [--rounds 5]

One forward pass over a window, as in inference; with --batch over so many patches of training size instead.
"""

from __future__ import annotations

import argparse

import torch

from hpc_sr.bench.pairs import print_result, time_in_turn
from hpc_sr.bench.step import PATCH_PX
from hpc_sr.comm.launch import pin_device
from hpc_sr.models.build import build_generator
from hpc_sr.models.facts import Facts
from hpc_sr.models.options import S2xOptions
from hpc_sr.models.precision import autocast, choose_precision
from hpc_sr.tasks import Task, task_by_name
from hpc_sr.train.facts import laws_of


def main() -> None:
    """Print the seconds of both, and the share that base and back-projection add."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=tuple(PATCH_PX), default="s2x")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--window", type=int, default=480)
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    task, device = task_by_name(options.task), pin_device(local_rank=0)
    precision = choose_precision(options.precision, device)
    patch_px = PATCH_PX[task.name]
    side = patch_px if options.batch else options.window // patch_px * patch_px
    inputs = [torch.rand(max(1, options.batch), *task.shape(layer, side), device=device) for layer in task.inputs]
    without = S2xOptions(family="s2x", width=options.width)
    plain, based = (
        _network(task, chosen, patch_px).to(device)
        for chosen in (without, without.model_copy(update={"base": "guided", "back_project": True}))
    )

    def forward(network: torch.nn.Module) -> None:
        with torch.inference_mode(), autocast(device, precision):
            network(*inputs).targets[0].mean().item()

    timed = time_in_turn(lambda: forward(plain), lambda: forward(based), options.rounds)
    print_result(
        "bases",
        task=task.name,
        width=options.width,
        batch=max(1, options.batch),
        side_px=side,
        precision=precision,
        **timed,
        added_share=timed["second_over_first"] - 1,
    )


def _network(task: Task, options: S2xOptions, patch_px: int) -> torch.nn.Module:
    return build_generator(options, task, Facts(patch_px, laws=laws_of("wald", task, "S2A"))).eval()


if __name__ == "__main__":
    main()
