"""The verbs of stores: prepare, inspect, verify, merge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpc_sr.cli.arguments import Overrides, RecipeFile, StoreDirectory

if TYPE_CHECKING:
    from hpc_sr.shards.schema import Manifest


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
        typer.echo(f"{settings.store}: {contents(manifest)}" if manifest else f"{settings.store}: part {share} is done")


def inspect(
    store: StoreDirectory,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Where the contact sheet goes [STORE/contact_sheet.png].")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of tables; a sheet is drawn only with --sheet.")
    ] = False,
) -> None:
    """Show what a store holds: settings, splits, products, refusals, statistics, and a picture of some patches.

    The contact sheet shows 32 patches drawn from all splits in one stretch. `hpc-sr verify` tells whether the files
    are undamaged.
    """
    from data_prep.inspection import inspect as look_into

    look_into(store, sheet, as_json)


def verify(store: StoreDirectory) -> None:
    """Read all of a store, compare every checksum and list the damaged files; exit code 1 if there are any.

    `mpirun -n N hpc-sr verify STORE` shares out the files. To mend: delete what is damaged and prepare again.
    """
    from data_prep.inspection import verify as damages
    from hpc_sr.comm.failure import failing_together
    from hpc_sr.comm.mpi import mpi_world
    from hpc_sr.logs import setup_logging
    from hpc_sr.shards.schema import read_manifest

    world = mpi_world()
    setup_logging(world.rank, world.world_size)
    with failing_together(world):
        found = damages(store, world)
        if world.rank == 0:
            for error in found:
                typer.echo(f"damaged: {error}")
            shards = sum(len(entries) for entries in read_manifest(store).splits.values())
            typer.echo(f"{store}: {shards - len(found)} of {shards} files are as they were written")
        world.barrier()  # a rank that leaves with code 1 takes the others along
    raise typer.Exit(1 if found else 0)


def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The store to write; it must not exist.")],
    stores: Annotated[list[Path], typer.Argument(metavar="STORE STORE ...", help="The stores to put together.")],
) -> None:
    """Put stores together that were made with the same settings of different products.

    No patch is cut again: shards are linked or copied, statistics added up. Stores that differ in task, level,
    degradation or patches, that hold the same product, or of which one trains on a tile that another holds out, do
    not merge.
    """
    from data_prep.merge import merge as put_together
    from hpc_sr.logs import setup_logging

    setup_logging()
    typer.echo(f"{out}: {contents(put_together(out, stores))}")


def parse_share(text: str) -> tuple[int, int]:
    """Return (K, N) of "K/N". Raises RecipeError unless 0 <= K < N."""
    from hpc_sr.errors import RecipeError

    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        raise RecipeError(f"{text!r} is no part", where="--share", cure="count from 0: 0/10 to 9/10 are ten parts")
    return int(part), int(parts)


def contents(manifest: Manifest) -> str:
    """Return what a store holds, in a line."""
    counts = ", ".join(f"{manifest.rows(split)} {split}" for split in manifest.splits)
    skipped = f", {len(manifest.skipped)} skipped" if manifest.skipped else ""
    return f"{counts} patches of {len(manifest.products)} {'products' if manifest.level else 'images'}{skipped}"
