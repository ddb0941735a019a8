"""The command line: parse, connect, call one function. Rooms are imported by the verb that needs them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hpc_sr.bench.commands import benchmark, scaling

if TYPE_CHECKING:
    from hpc_sr.shards.schema import Manifest

app = typer.Typer(
    help="Sentinel-2 super-resolution: products to patch stores, distributed training, evaluation, 10 m GeoTIFFs.",
    epilog="Start with: hpc-sr doctor, then hpc-sr demo. Every verb has a --help.",
    no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False,
)  # fmt: skip

RecipeFile = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="A YAML recipe, for example configs/s2x_quick.yaml.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[key=value ...]", help="Overrides, for example train.seed=7 model.width=64."),
]
RunDirectory = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A run directory that `hpc-sr train` wrote.")]
StoreDirectory = Annotated[Path, typer.Argument(metavar="STORE", help="A store that `hpc-sr prepare` wrote.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"], typer.Option(help="Number type of the network; auto: the fastest here.")
]


@app.command()
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
            "has neither a `prepare` nor an `images` section", where=recipe,
            cure="add one, or give a recipe that has one",
        )  # fmt: skip
    part = parse_share(share) if share is not None else None
    world = mpi_world()
    setup_logging(world.rank, world.world_size)
    with failing_together(world):
        manifest = build(settings.preparation, task_by_name(settings.task), Path(settings.store), world, part)
    if world.rank == 0:
        typer.echo(
            f"{settings.store}: {contents(manifest)}" if manifest else f"{settings.store}: part {share} is done"
        )


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
def train(
    recipe: RecipeFile,
    overrides: Overrides = None,
    print_recipe: Annotated[
        bool, typer.Option("--print-recipe", help="Show the resolved recipe and derived numbers, train nothing.")
    ] = False,
    plot_schedule: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw the learning rate for several numbers of ranks, train nothing."),
    ] = None,
    ranks: Annotated[
        int, typer.Option(metavar="N", min=1, help="The ranks that --print-recipe and --plot-schedule count with.")
    ] = 1,
) -> None:
    """Train a generator, or resume the run if its directory exists.

    Plain, or under horovodrun, mpirun, srun or torchrun with the same recipe; the backend follows the launcher, or
    comm.backend. SIGTERM and SIGUSR1, on any rank, save a checkpoint and stop all ranks at the same step.

    Exit codes: 0 finished; 75 stopped by a signal, run again to go on; 2 a mistake in recipe, data or launch; 1
    anything else, also a rank that was lost: run again to go on from the last checkpoint. mpirun and srun pass them
    on; torchrun, and horovodrun over Gloo, turn every code but 0 into 1.
    """
    from hpc_sr.recipe import as_yaml, derived, load_recipe

    settings = load_recipe(recipe, overrides)
    if print_recipe:
        typer.echo(as_yaml(settings) + "# derived\n" + json.dumps(derived(settings, ranks), indent=1))
    if plot_schedule is not None:
        from hpc_sr.report.schedule import draw_schedules
        from hpc_sr.train.schedule import resolve

        schedule_of = partial(resolve, settings.to_train()[1], settings.optimizer, settings.train)
        draw_schedules(settings.name, schedule_of, ranks, plot_schedule)
    if print_recipe or plot_schedule is not None:
        return
    from hpc_sr.train.stop import ignore_signals, keep_signals

    stop = keep_signals()  # before anything large is loaded: a warning may come at any time
    from hpc_sr.comm.launch import run_on_ranks
    from hpc_sr.verbs import train_recipe

    outcome, rank = run_on_ranks(lambda comm: (train_recipe(settings, comm, stop), comm.rank), settings.comm)
    ignore_signals()
    if rank == 0:
        end = "finished" if outcome.finished else "stopped by a signal, run again to go on"
        typer.echo(f"{settings.run_directory}: step {outcome.step}, {end}")
    if not outcome.finished:
        raise typer.Exit(75)  # EX_TEMPFAIL, "try again": job scripts requeue on it


app.command()(benchmark)
app.command()(scaling)


@app.command()
def evaluate(
    run_dir: RunDirectory,
    product: Annotated[list[Path] | None, typer.Option(metavar="SAFE ...", help="Products to evaluate on.")] = None,
    store: Annotated[Path | None, typer.Option(metavar="DIR", help="A patch store to evaluate on instead.")] = None,
    protocol: Annotated[
        Literal["synthesis", "consistency", "both"],
        typer.Option(help="synthesis: against the measured bands; consistency: degraded again, against the input."),
    ] = "synthesis",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the scores here too.")
    ] = None,
    precision: Precision = "auto",
) -> None:
    """Score a trained generator next to bicubic, on products or on a store (default: the run's own test split).

    RMSE, SRE, SAM, ERGAS, PSNR, bPSNR, SSIM, UIQ, Q, correlation, bias and GSM, per band and total, in reflectance
    x 10 000. The scores, and panels for `hpc-sr report`, go to RUN_DIR/evaluate. Works under any launcher: ranks
    share the windows.
    """
    from hpc_sr.comm.launch import connected
    from hpc_sr.logs import setup_logging
    from hpc_sr.verbs import evaluate_run

    with connected() as comm:
        setup_logging(comm.rank, comm.world_size)
        chosen = ("synthesis", "consistency") if protocol == "both" else (protocol,)
        evaluate_run(run_dir, product or [], store, chosen, json_file, precision, comm)


@app.command()
def infer(
    run_dir: RunDirectory,
    product: Annotated[Path, typer.Argument(metavar="PRODUCT", help="A .SAFE product of the model's level.")],
    out: Annotated[Path, typer.Option(metavar="FILE.tif", help="The GeoTIFF to write.")],
    precision: Precision = "auto",
) -> None:
    """Write a product's bands at 10 m as a tiled, compressed GeoTIFF.

    Native 10 m bands keep their DN, super-resolved ones follow the same convention: georeference, nodata, scale and
    offset are the product's. Memory is bounded whatever the product's size.
    """
    from hpc_sr.logs import setup_logging
    from hpc_sr.verbs import infer_product

    setup_logging()
    typer.echo(str(infer_product(run_dir, product, out, precision)))


@app.command()
def report(run_dir: RunDirectory) -> None:
    """Write RUN_DIR/report.html: loss curves, tables, picture panels, provenance, in one self-contained page."""
    from hpc_sr.report.html import write_report

    typer.echo(str(write_report(run_dir)))


@app.command()
def doctor() -> None:
    """Show what is installed and what works here: backends, filters, JPEG2000, GPU, MPI, Slurm, file locking."""
    from hpc_sr.doctor import examine, print_findings

    raise typer.Exit(print_findings(examine()))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where everything goes.")] = Path("demo"),
    scene: Annotated[
        Path | None, typer.Option(metavar="FILE.npz", help="Real pixels: left half to train on, right half to score.")
    ] = None,
) -> None:
    """Go all the way in minutes: products, store, training, evaluation, GeoTIFF, report. Needs no data."""
    from hpc_sr.demo import run_demo
    from hpc_sr.logs import setup_logging

    setup_logging()
    run_demo(out, scene)


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
