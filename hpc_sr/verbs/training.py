"""From a recipe to a trained run."""

from __future__ import annotations

from pathlib import Path

from hpc_sr.comm.communicator import Comm
from hpc_sr.environment import describe_environment, open_run_directory
from hpc_sr.logs import setup_logging
from hpc_sr.recipe import Recipe, as_yaml, derived
from hpc_sr.tasks import task_by_name
from hpc_sr.train.stop import StopFlag
from hpc_sr.train.trainer import Outcome, Run, train


def train_recipe(recipe: Recipe, comm: Comm, stop: StopFlag | None = None) -> Outcome:
    """Open the recipe's run directory, train or resume in it until `stop`, and return how far it came. Collective."""
    model, schedule = recipe.to_train()
    directory = recipe.run_directory
    environment = describe_environment(comm, recipe.model_dump(mode="json"), derived(recipe, comm.world_size))
    open_run_directory(directory, comm, as_yaml(recipe), environment)
    setup_logging(comm.rank, comm.world_size, directory / "log")
    degradation = recipe.prepare.degradation if recipe.prepare else None
    run = Run(
        directory,
        task_by_name(recipe.task),
        Path(recipe.store),
        degradation,
        model,
        recipe.loss,
        recipe.optimizer,
        schedule,
        recipe.train,
    )
    return train(run, comm, stop or StopFlag())
