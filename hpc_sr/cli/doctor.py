"""`hpc-sr doctor`: what works here."""

from __future__ import annotations

import typer


def doctor() -> None:
    """Show what is installed and what works here: backends, filters, JPEG2000, GPU, MPI, Slurm, file locking."""
    from hpc_sr.doctor import examine, print_findings

    raise typer.Exit(print_findings(examine()))
