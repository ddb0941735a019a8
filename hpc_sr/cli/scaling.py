"""`hpc-sr scaling`: a folder of benchmarks as a table and a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def scaling(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of JSON files that `hpc-sr benchmark` wrote.")
    ],
) -> None:
    """Show the points in a folder: a table here and in DIR/scaling.md, a figure in DIR/scaling.png.

    Efficiency is samples per second over ranks times the samples per second of one rank, of the same backend if it
    was measured.
    """
    from rich.console import Console

    from hpc_sr.report.scaling import console_table, read_points, write_scaling

    points = read_points(folder)
    written = write_scaling(folder, points)
    Console(emoji=False).print(console_table(points))
    typer.echo("\n".join(str(path) for path in written))
