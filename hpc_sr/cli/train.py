"""`hpc-sr train`: a recipe becomes a trained run."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpc_sr.cli.arguments import Overrides, RecipeFile

if TYPE_CHECKING:
    from hpc_sr.comm.communicator import Comm
    from hpc_sr.recipe import Recipe
    from hpc_sr.train.stop import StopFlag
    from hpc_sr.train.trainer import Outcome


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
    allow_change: Annotated[
        bool, typer.Option("--allow-change", help="Go on with a run though its recipe says otherwise now.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Record ten steps into RUN/profile: a trace, and what takes the time.")
    ] = False,
) -> None:
    """Train a generator, or resume the run if its directory exists.

    Plain, or under horovodrun, mpirun, srun or torchrun with the same recipe; the backend follows the launcher, or
    comm.backend. Ctrl-C, SIGTERM and SIGUSR1, on any rank, save a checkpoint and stop all ranks at the same step; a
    second Ctrl-C ends at once (130). Under mpirun send it SIGUSR1: after Ctrl-C it kills its ranks within two seconds.

    Exit codes: 0 finished; 75 stopped by a signal, run again to go on; 2 a mistake in recipe, data or launch; 1
    anything else, also a rank that was lost: run again to go on from the last checkpoint. mpirun and srun pass them
    on; torchrun, and horovodrun over Gloo, turn every code but 0 into 1.
    """
    from hpc_sr.recipe import as_yaml, derived, load_recipe

    settings = load_recipe(recipe, overrides)
    if print_recipe:
        typer.echo(as_yaml(settings) + "# derived\n" + json.dumps(derived(settings, ranks), indent=1))
    if plot_schedule is not None:
        from hpc_sr.report.figures.schedule import draw_schedules
        from hpc_sr.train.schedule import resolve

        schedule_of = partial(resolve, settings.to_train()[1], settings.optimizer, settings.train)
        draw_schedules(settings.name, schedule_of, ranks, plot_schedule)
    if print_recipe or plot_schedule is not None:
        return
    from hpc_sr.comm.signals import ignore_signals
    from hpc_sr.train.stop import keep_signals

    stop = keep_signals()  # before anything large is loaded: a warning may come at any time
    from hpc_sr.comm.launch import run_on_ranks

    def work(comm: Comm) -> tuple[Outcome, int]:
        return train_recipe(settings, comm, stop, allow_change, profile), comm.rank

    outcome, rank = run_on_ranks(work, settings.comm)
    ignore_signals()
    if rank == 0:
        end = "finished" if outcome.finished else "stopped by a signal, run again to go on"
        typer.echo(f"{settings.run_directory}: step {outcome.step}, {end}")
    if not outcome.finished:
        raise typer.Exit(75)  # EX_TEMPFAIL, "try again": job scripts requeue on it


def train_recipe(
    recipe: Recipe, comm: Comm, stop: StopFlag | None = None, allow_change: bool = False, profile: bool = False
) -> Outcome:
    """Train a recipe's run, or go on with it, until `stop`; return how far it came. Collective.

    Nothing of a run that is there is touched before all is checked. `allow_change` lets it go on with settings that
    change what is learned, `profile` records ten steps. Raises OutputError if another command is at the run;
    RecipeError; what training raises.
    """
    from hpc_sr.environment import describe_environment
    from hpc_sr.logs import setup_logging
    from hpc_sr.recipe import derived
    from hpc_sr.run_directory import check_changes, describe, held
    from hpc_sr.tasks import task_by_name
    from hpc_sr.train import trainer
    from hpc_sr.train.stop import StopFlag

    model, schedule = recipe.to_train()
    directory = recipe.run_directory
    environment = describe_environment(comm, recipe.model_dump(mode="json"), derived(recipe, comm.world_size))
    run = trainer.Run(
        directory,
        task_by_name(recipe.task),
        Path(recipe.store),
        recipe.prepare.degradation if recipe.prepare else None,
        model,
        recipe.objective,
        recipe.optimizer,
        schedule,
        recipe.train,
        profile,
    )
    with held(directory, comm):
        changes = check_changes(directory, recipe, allow_change)
        setup_logging(comm.rank, comm.world_size, directory / "log")
        begin = partial(describe, directory, comm, recipe, environment, changes)
        return trainer.train(run, comm, stop or StopFlag(), begin)
