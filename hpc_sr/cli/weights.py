"""`hpc-sr weights`: the ready-made networks that travel with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def weights(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The set to copy; none: list all.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the copy goes: a new folder. Default: ./NAME.")
    ] = None,
) -> None:
    """List the ready-made weights that come with hpc_sr, or copy a set: networks to evaluate, export or start from.

      hpc-sr weights detail_mtf --out mine

      hpc-sr evaluate mine/L1C_s2x --product X.SAFE

    `hpc-sr infer X.SAFE` takes those for the product's level by itself. Each has a README.md: data, scores, limits.
    """
    from hpc_sr.errors import RecipeError
    from hpc_sr.weights.ready import ready_sets, write_ready_set

    if name is not None:
        for folder in write_ready_set(name, Path(name) if out is None else out):
            typer.echo(str(folder))
        return
    if out is not None:
        raise RecipeError("is given without a set", where="--out", cure="name one: `hpc-sr weights` lists them")
    from rich.console import Console
    from rich.table import Table

    table = Table("set", "level", "task", "degradation", "parameters", "step", "folder", box=None)
    for title, networks in ready_sets().items():
        for folder, card in networks.items():
            told = (card.level, card.task, card.degradation, f"{card.parameters:,}", str(card.step), folder.name)
            table.add_row(title, *told)
    Console(width=None if Console().is_terminal else 200).print(table)
