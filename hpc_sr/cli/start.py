"""The verbs to start with: doctor, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def doctor() -> None:
    """Show what is installed and what works here: backends, filters, JPEG2000, GPU, MPI, Slurm, file locking."""
    from hpc_sr.doctor import examine, print_findings

    raise typer.Exit(print_findings(examine()))


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where everything goes.")] = Path("demo"),
    scene: Annotated[
        Path | None, typer.Option(metavar="FILE.npz", help="Real pixels: left half to train on, right half to score.")
    ] = None,
) -> None:
    """Go all the way in minutes: products, store, training, evaluation, GeoTIFF, report. Needs no data."""
    from hpc_sr.demo import run_demo
    from hpc_sr.logs import setup_logging

    setup_logging()
    run_demo(out, scene)
