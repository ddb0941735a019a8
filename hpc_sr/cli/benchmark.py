"""`hpc-sr benchmark`: how fast a recipe trains on these ranks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def benchmark(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML recipe that trains.")],
    out: Annotated[Path, typer.Option(metavar="FILE.json", help="The file to write the point to.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="key=value", help="Overrides, for example comm.backend=ddp.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps in a round.")] = 30,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds that are timed, after one to warm up.")] = 7,
) -> None:
    """Measure how fast a recipe trains on the ranks of this launch: one point of a scaling curve.

    Plain, or under horovodrun, mpirun, srun or torchrun, like `hpc-sr train`; nothing is kept but the JSON. Data are
    the recipe's store, or noise if that is not prepared yet. `hpc-sr scaling` shows a folder of points.
    """
    from hpc_sr.bench.scaling import measure_point
    from hpc_sr.comm.communicator import Comm
    from hpc_sr.comm.launch import run_on_ranks
    from hpc_sr.disk import check_writable, write_atomically
    from hpc_sr.recipe import load_recipe

    settings = load_recipe(recipe, overrides)

    def measure(comm: Comm) -> None:
        if comm.rank == 0:
            check_writable(out)
        point = measure_point(settings, comm, steps, rounds)
        if comm.rank == 0:
            write_atomically(out, json.dumps(point, indent=1) + "\n")
            typer.echo(
                f"{out}: {point['samples_per_s']:.4g} samples/s, {comm.backend} of {comm.world_size}, "
                + ", ".join(f"{part.replace('_', ' ')} {100 * x:.1f} %" for part, x in point["shares"].items())
            )

    run_on_ranks(measure, settings.comm)
