"""`hpc-sr quality`: what runs of several batches and ranks reached, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def quality(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN_DIR", help="Run directories that `hpc-sr train` wrote.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where tables and figure go.")] = Path("quality"),
    target: Annotated[
        float | None,
        typer.Option(metavar="RMSE", min=0, help="The RMSE to reach; what all runs reached, if not given."),
    ] = None,
) -> None:
    """Show runs by learning-rate rule and global batch: the RMSE each reached in validation, and the time to a target.

    For runs of one recipe on several numbers of ranks, as `configs/scaling/` has them. DIR gets quality.md, .csv,
    .tex, .html and .png.
    """
    from rich.console import Console

    from hpc_sr.extras import need
    from hpc_sr.report.quality import quality_grid, read_course, write_quality
    from hpc_sr.report.rendering import as_console

    need("jinja2", "report", "a page of tables")
    courses = [read_course(run) for run in runs]
    grid = quality_grid(courses, target)
    console = Console(emoji=False)
    console.print(as_console(grid, console.width))
    for path in write_quality(courses, grid, target, out):
        console.print(str(path), soft_wrap=True, markup=False)
