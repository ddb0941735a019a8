"""`hpc-sr scaling`: a folder of benchmarks as a table and a figure, and what they say of more ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def scaling(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of JSON files that `hpc-sr benchmark` wrote.")
    ],
    predict_to: Annotated[
        int | None, typer.Option(metavar="RANKS", min=2, help="Predict powers of two up to so many ranks.")
    ] = None,
    links: Annotated[
        Literal["juwels", "juwels_booster"] | None,
        typer.Option(help="The links to predict with; those that the points show if not given."),
    ] = None,
) -> None:
    """Show the points in a folder: a table here and in DIR/scaling.md, a figure in DIR/scaling.png.

    Efficiency is samples per second over ranks times the samples per second of one rank, of the same backend if it
    was measured. With --predict-to also DIR/predicted.md and .png: what a model of the exchange and of the slowest
    rank expects on more ranks, where that falls below 0.9, what moves it, and how far it is off on measured points.
    """
    from rich.console import Console

    from hpc_sr.errors import RecipeError
    from hpc_sr.report.prediction import console_of, forecast, write_forecast
    from hpc_sr.report.scaling import console_table, read_points, write_scaling

    if links is not None and predict_to is None:
        raise RecipeError("says nothing without a prediction", where="--links", cure="give --predict-to 1024 too")
    points = read_points(folder)
    told = None if predict_to is None else forecast(points, predict_to, links)
    written = write_scaling(folder, points)
    console = Console(emoji=False)
    console.print(console_table(points))
    if told is not None:
        console.print(console_of(told))
        written += write_forecast(folder, told)
    typer.echo("\n".join(str(path) for path in written))
