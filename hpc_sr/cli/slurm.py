"""`hpc-sr slurm`: the job scripts that travel with the package."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer


def slurm(
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write; it must not exist.")] = Path("slurm"),
) -> None:
    """Write the job scripts for Slurm, the settings of the sites, and a private cluster to try them on.

    A job goes by the settings that were sourced before sbatch, from whatever folder it is submitted. What the sites
    set is for you to change.
    """
    from hpc_sr.shipped import write_job_scripts

    sites = write_job_scripts(out)
    place = shlex.quote(str(out))
    typer.echo(f"{out}: for the sites {', '.join(sites)}; next, in the folder where the runs shall lie:")
    typer.echo(f"  export HPC_SR_VENV={shlex.quote(sys.prefix)}")
    typer.echo(f"  source {place}/sites/SITE.sh")
    typer.echo("  hpc-sr recipe s2x > s2x.yaml")
    typer.echo(f"  RECIPE=s2x.yaml sbatch {place}/train_s2x2.sh")
