"""`hpc-sr export`: a trained network as files for others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpc_sr.cli.arguments import RunDirectory
from hpc_sr.tasks import Task, task_by_name

if TYPE_CHECKING:
    from hpc_sr.weights.trained import Trained


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
    task: Annotated[
        str | None,
        typer.Option(metavar="s2x|s6x|s26x", help="Of family band, whose weights fit any bands: what it is to do."),
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
    if task is None:
        typer.echo(str(export_run(run_dir, out, formats)))
    else:
        typer.echo(str(export_for(task_by_name(task), run_dir, out, formats)))


def export_for(task: Task, run_dir: Path, out: Path | None, formats: str | None) -> Path:
    """Write a run's network, whose weights fit any bands, as one of another task; return the folder."""
    from hpc_sr.export.runs import export_run
    from hpc_sr.train.facts import laws_of
    from hpc_sr.weights.trained import for_task

    def use(trained: Trained) -> Trained:
        return for_task(trained, task, laws_of(trained.card.degradation, task, satellite=""))

    return export_run(run_dir, out, formats, use)
