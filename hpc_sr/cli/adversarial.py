"""From runs to the tables of adversarial training: what a critic costs and gives, what back-projection gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from hpc_sr.cli.scores import Request, evaluate_together
from hpc_sr.comm.communicator import Comm
from hpc_sr.errors import HpcSrError, RecipeError
from hpc_sr.extras import need
from hpc_sr.infer.predict import Predictor
from hpc_sr.infer.runs import load_models
from hpc_sr.models.options import BaseOptions
from hpc_sr.recipe import load_run_recipe
from hpc_sr.report.adversarial import CONTENT, adversarial_tables, write_adversarial
from hpc_sr.report.rendering import as_console
from hpc_sr.tasks import task_by_name
from hpc_sr.train.options import CriticisedOptions
from hpc_sr.weights.trained import back_projected, load_trained


def tabulate_adversarial(runs: Sequence[Path], out: Path, request: Request, comm: Comm) -> None:
    """Score runs, each as it is and back-projected, together under both protocols; print and write tables. Collective.

    The runs are of one task, level and degradation: those of content alone, and fine-tuned with a critic. Scenes that
    are scored already are not scored again.
    """
    need("jinja2", "report", "a page of tables")  # before hours are spent on what would go there
    if not runs:
        raise RecipeError("there is no run to stand in the tables", where="--table", cure="give run directories")
    names = [Path(run).resolve().name for run in runs]
    if len(set(names)) < len(names):
        raise RecipeError("two runs have the same name", where="--table", cure="rename the folder of one")
    if request.store is not None:
        raise RecipeError("a store cannot tell consistency", where="--table", cure="give products with --product")
    networks = _networks(runs, request.precision, comm)
    first = networks[0]
    task, degradation = first.generator.task, first.card.degradation
    asked = replace(request, protocols=("synthesis", "consistency"))
    evaluate_together(task, degradation, networks, tuple(runs), out, asked, comm)
    if comm.rank == 0:
        losses = {name: _loss_of(run) for name, run in zip(names, runs, strict=True)}
        console = Console(emoji=False)
        for grid in adversarial_tables(out, losses):
            console.print(as_console(grid, console.width))
        for path in write_adversarial(out, losses):
            console.print(str(path), soft_wrap=True, markup=False)


def _networks(runs: Sequence[Path], precision: str, comm: Comm) -> tuple[Predictor, ...]:
    """Return each run's network and, unless it was trained so, its back-projected one."""
    found = []
    for run in runs:
        trained = load_trained(Path(run).resolve())
        model = trained.card.model
        if task_by_name(trained.card.task).of_images or not isinstance(model, BaseOptions):
            cure = "give runs of task s2x, s6x or s26x; --table sisr is for those of pictures"
            raise RecipeError("is a network of pictures, which have no consistency", where=run, cure=cure)
        found += [trained] if model.back_project else [trained, back_projected(trained)]
    told = {(one.card.task, one.card.level, one.card.degradation): one.where for one in found}
    if len(told) > 1:
        (mine, where), (other, _), *_ = ((key, where) for key, where in told.items())
        raise RecipeError(
            f"is of {', '.join(mine)}, another of {', '.join(other)}",
            where=where,
            cure="give runs of one task, level and degradation",
        )
    return tuple(load_models(found, precision, comm))


def _loss_of(run: Path) -> str:
    """Return the adversarial loss that a run was trained with, or that there was none, or that nobody knows."""
    try:
        objective = load_run_recipe(run).objective
    except HpcSrError:
        return "unknown"
    return objective.loss if isinstance(objective, CriticisedOptions) else CONTENT
