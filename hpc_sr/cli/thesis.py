"""From runs to the thesis's tables, its numbers beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from hpc_sr.cli.scores import Request, evaluate_run, open_each
from hpc_sr.comm.communicator import Comm
from hpc_sr.errors import ProductError, RecipeError
from hpc_sr.extras import need
from hpc_sr.logs import logger
from hpc_sr.report.rendering import as_console
from hpc_sr.report.thesis.tables import thesis_tables, write_thesis_tables
from hpc_sr.weights.card import read_card
from hpc_sr.weights.folder import find_checkpoint

#: The methods that stand in the thesis's tables, and ours.
_METHODS = ("bicubic", "guided", "atprk", "supreme")


def tabulate(runs: Sequence[Path], out: Path, request: Request, comm: Comm) -> None:
    """Score runs under both protocols beside the thesis's methods; print its tables, write them to OUT. Collective.

    Each run is scored on the products of its own level. Scenes that are scored already are not scored again.
    """
    need("jinja2", "report", "a page of tables")  # before hours are spent on what would go there
    if not runs:
        raise RecipeError("there is no run to stand in the tables", where="--table", cure="give run directories")
    if request.store is not None:
        raise RecipeError("a store cannot tell consistency", where="--table", cure="give products with --product")
    opened, failed = open_each(request.products)
    evaluations = []
    for run_dir in runs:
        card = read_card(find_checkpoint(run_dir))
        mine = tuple(product.path for product in opened if product.level == card.level)
        if opened and not mine:
            logger.warning("%s is of level %s, of which no product was given: left out", run_dir, card.level)
            continue
        asked = replace(request, products=mine, protocols=("synthesis", "consistency"), baselines=_METHODS)
        scored = evaluate_run(run_dir, asked, comm)
        evaluations += [(run_dir.resolve().name, evaluation) for evaluation in scored.values()]
    if comm.rank == 0:
        console = Console(emoji=False)
        for grid in thesis_tables(evaluations):
            console.print(as_console(grid, console.width))
        for path in write_thesis_tables(evaluations, out):
            console.print(str(path), soft_wrap=True, markup=False)
    if failed:
        raise ProductError(
            f"{len(failed)} of {len(request.products)} products could not be opened; the first: "
            f"{next(iter(failed.values()))}",
            where=out,
            cure="mend them, then run again: what is scored is kept",
        )
