"""`hpc-sr prepare`: products or images become a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpc_sr.cli.arguments import Overrides, RecipeFile


def prepare(
    recipe: RecipeFile,
    overrides: Overrides = None,
    share: Annotated[
        str | None,
        typer.Option(metavar="K/N", help="Prepare only the K-th of N parts, counted from 0: a job array's task."),
    ] = None,
) -> None:
    """Turn the products or images that a recipe names into its patch store.

    Serial, or shared out by `mpirun -n N hpc-sr prepare RECIPE`: the result is the same. Killed and run again, it
    goes on; products that are added to the recipe are added to the store. After the parts of a job array (--share 0/N
    to N-1/N, at the same time or not) a run without --share collects them. STORE/maps shows what was kept.
    """
    from hpc_sr.comm.signals import end_on_signals

    end_on_signals()  # before anything large is loaded
    from data_prep.build import prepare as build
    from hpc_sr.comm.failure import failing_together
    from hpc_sr.comm.mpi import mpi_world
    from hpc_sr.errors import RecipeError
    from hpc_sr.logs import setup_logging
    from hpc_sr.recipe import load_recipe
    from hpc_sr.tasks import task_by_name

    settings = load_recipe(recipe, overrides)
    if settings.preparation is None:
        raise RecipeError(
            "has neither a `prepare` nor an `images` section",
            where=recipe,
            cure="add one, or give a recipe that has one",
        )
    part = parse_share(share) if share is not None else None
    world = mpi_world()
    setup_logging(world.rank, world.world_size)
    with failing_together(world):
        manifest = build(settings.preparation, task_by_name(settings.task), Path(settings.store), world, part)
    if world.rank == 0:
        told = manifest.contents() if manifest else f"part {share} is done"
        typer.echo(f"{settings.store}: {told}")


def parse_share(text: str) -> tuple[int, int]:
    """Return (K, N) of "K/N". Raises RecipeError unless 0 <= K < N."""
    from hpc_sr.errors import RecipeError

    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        raise RecipeError(f"{text!r} is no part", where="--share", cure="count from 0: 0/10 to 9/10 are ten parts")
    return int(part), int(parts)
