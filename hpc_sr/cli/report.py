"""`hpc-sr report`: what runs wrote, as pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN_DIR", help="Run directories that `hpc-sr train` wrote, or exported.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="Where the comparison of several runs goes.")] = Path(
        "comparison.html"
    ),
) -> None:
    """Write RUN_DIR/report.html: curves, tables, pictures, spectra, provenance, in one self-contained page.

    Of several runs each gets its page, and FILE.html compares them: scores, learning curves, bands, pictures.
    """
    from hpc_sr.report.comparison import write_comparison
    from hpc_sr.report.html import write_report

    for run_dir in runs:
        typer.echo(str(write_report(run_dir)))
    if len(runs) > 1:
        typer.echo(str(write_comparison(runs, out)))
