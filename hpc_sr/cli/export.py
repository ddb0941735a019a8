"""`hpc-sr export`: a trained network as files for others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpc_sr.cli.arguments import RunDirectory


def export(
    run_dir: RunDirectory,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder to write; default RUN_DIR/export.")
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="safetensors,torch,onnx", help="Which files; default all that the network allows."
        ),
    ] = None,
) -> None:
    """Write a trained network as files for others: weights, graphs that need no hpc_sr, and a model card.

    model.safetensors, model.pt2 (torch.export) and model.onnx take any batch and size; the graphs take and return
    reflectance x 10 000. Each file is read again and compared with the network before the folder appears. `hpc-sr
    infer` and `hpc-sr evaluate` take the folder in place of a run.
    """
    from hpc_sr.export.runs import export_run
    from hpc_sr.logs import setup_logging

    setup_logging()
    typer.echo(str(export_run(run_dir, out, formats)))
