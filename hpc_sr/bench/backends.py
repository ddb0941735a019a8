"""Horovod and DDP side by side on ranks with a core each, and both against one rank on one core.

    python -m hpc_sr.bench.backends [--ranks 2] [--task s2x] [--width 48] [--batch 16] [--precision auto]
                                    [--steps 20] [--rounds 3] [--turns 5]

A turn launches Horovod (mpirun), DDP (torchrun), one rank alone, and as many lone ranks side by side that never talk,
one after the other, with as many rounds of steps in each after one to warm up. Ratios are taken within a turn;
medians over turns. A rank's threads, those of its backend included, stay on its core. What lone ranks side by side
reach is the machine's limit: processors share memory bandwidth, and often one core's arithmetic.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hpc_sr.bench.pairs import print_result
from hpc_sr.bench.scaling import measure_point
from hpc_sr.bench.step import PATCH_PX, recipe_of
from hpc_sr.comm.communicator import Comm
from hpc_sr.comm.launch import run_on_ranks
from hpc_sr.comm.launchers import describe_launch
from hpc_sr.comm.options import Backend, CommOptions
from hpc_sr.disk import write_atomically

#: Backend by name, with the launcher that starts so many ranks before `python -m`.
_PARALLEL = {
    "horovod": ("mpirun", "--bind-to", "none", "--oversubscribe", "-np", "{ranks}", sys.executable),
    "ddp": (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "{ranks}"),
}


def main() -> None:
    """Print the samples per second of both and of one rank, ratios to the better, and weak-scaling efficiency."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--task", choices=tuple(PATCH_PX), default="s2x")
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--point", nargs=2, metavar=("BACKEND", "FILE"), help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        _be_a_rank(options, *options.point)
    else:
        _compare(options)


def _compare(options: argparse.Namespace) -> None:
    turns, side_by_side = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.turns):
            turns.append({name: _launch(name, options.ranks, Path(folder)) for name in (*_PARALLEL, "serial")})
            side_by_side.append(_launch_side_by_side(options.ranks, Path(folder)))
    speeds = {name: [turn[name]["samples_per_s"] for turn in turns] for name in turns[0]}
    better = [max(pair) for pair in zip(speeds["horovod"], speeds["ddp"], strict=True)]
    to_better = {name: _ratios(speeds[name], better) for name in _PARALLEL}
    efficiency = {name: [x / options.ranks for x in _ratios(speeds[name], speeds["serial"])] for name in _PARALLEL}
    to_limit = {name: statistics.median(_ratios(speeds[name], side_by_side)) for name in _PARALLEL}
    last = turns[-1]["ddp"]
    print_result(
        "backends",
        ranks=options.ranks,
        task=options.task,
        width=options.width,
        batch_per_rank=options.batch,
        precision=last["setting"]["precision"],
        parameters=last["parameters"],
        turns=options.turns,
        rounds=options.rounds,
        steps=options.steps,
        samples_per_s={name: statistics.median(values) for name, values in speeds.items()},
        ratio_to_better={name: statistics.median(values) for name, values in to_better.items()},
        ratio_to_better_min_max={name: [min(values), max(values)] for name, values in to_better.items()},
        weak_scaling_efficiency={name: statistics.median(values) for name, values in efficiency.items()},
        weak_scaling_efficiency_min_max={name: [min(values), max(values)] for name, values in efficiency.items()},
        side_by_side_samples_per_s=statistics.median(side_by_side),
        ratio_to_side_by_side=to_limit,
        shares={
            name: {part: statistics.median(turn[name]["shares"][part] for turn in turns) for part in last["shares"]}
            for name in speeds
        },
    )


def _ratios(values: list[float], to: list[float]) -> list[float]:
    return [value / other for value, other in zip(values, to, strict=True)]


def _launch(backend: str, ranks: int, folder: Path) -> dict[str, Any]:
    """Return the point of this command's options on a backend, measured by processes of its own."""
    prefix = [part.format(ranks=ranks) for part in _PARALLEL.get(backend, (sys.executable,))]
    return _finish(*_begin(prefix, backend, folder / f"{backend}.json"))


def _launch_side_by_side(ranks: int, folder: Path) -> float:
    """Return the samples per second of lone ranks that run at the same time, together."""
    begun = [_begin([sys.executable], "serial", folder / f"lone_{k}.json", "--core", str(k)) for k in range(ranks)]
    return sum(_finish(*one)["samples_per_s"] for one in begun)


def _begin(prefix: list[str], backend: str, file: Path, *more: str) -> tuple[subprocess.Popen[bytes], Path]:
    command = [*prefix, "-m", __spec__.name, *sys.argv[1:], "--point", backend, str(file), *more]
    as_root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"} if os.geteuid() == 0 else {}
    environ = {**os.environ, **as_root, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL), file


def _finish(process: subprocess.Popen[bytes], file: Path) -> dict[str, Any]:
    if process.wait():
        raise SystemExit(f"{process.args!r} ended with {process.returncode}")
    return json.loads(file.read_text(encoding="utf-8"))


def _be_a_rank(options: argparse.Namespace, backend: Backend, file: str) -> None:
    """Stay on one core, measure with the others, and let rank 0 write the point."""
    cores = sorted(os.sched_getaffinity(0))
    core = describe_launch(os.environ).local_rank if options.core is None else options.core
    os.sched_setaffinity(0, {cores[core % len(cores)]})
    recipe = recipe_of(options.task, options.width, options.batch, options.precision)

    def measure(comm: Comm) -> None:
        point = measure_point(recipe, comm, options.steps, options.rounds)
        if comm.rank == 0:
            write_atomically(file, json.dumps(point))

    run_on_ranks(measure, CommOptions(backend=backend))


if __name__ == "__main__":
    main()
