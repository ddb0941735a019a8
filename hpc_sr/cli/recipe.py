"""`hpc-sr recipe`: the recipes that travel with the package."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def recipe(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The recipe to print; none: list them.")] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of recipes, for editors, instead.")
    ] = False,
) -> None:
    """List the recipes that come with hpc_sr, or print one to begin with: hpc-sr recipe s2x > my.yaml

    What is printed stands alone: a recipe that lies over another one is printed together with it. The first line
    tells editors where the schema is, by which they complete and check the keys.
    """
    if schema:
        from hpc_sr.recipe import schema as recipe_schema

        typer.echo(json.dumps(recipe_schema(), indent=1))
        return
    from hpc_sr.shipped import recipe_text, shipped_recipes

    if name is not None:
        typer.echo(recipe_text(name), nl=False)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("recipe", "task", "what it is", box=None)
    for shipped in shipped_recipes():
        table.add_row(shipped.name, shipped.task, shipped.about)
    # Piped into a file the table is as wide as it needs to be.
    (Console() if Console().is_terminal else Console(width=200)).print(table)
