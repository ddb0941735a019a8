"""The verbs that score a run and show it: evaluate, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hpc_sr.cli.arguments import Precision, RunDirectory


def evaluate(
    run_dir: RunDirectory,
    product: Annotated[list[Path] | None, typer.Option(metavar="SAFE ...", help="Products to evaluate on.")] = None,
    store: Annotated[Path | None, typer.Option(metavar="DIR", help="A patch store to evaluate on instead.")] = None,
    method: Annotated[
        list[str] | None, typer.Option(metavar="NAME ...", help="Methods without training to score too.")
    ] = None,
    protocol: Annotated[
        Literal["synthesis", "consistency", "both"],
        typer.Option(help="synthesis: against the measured bands; consistency: degraded again, against the input."),
    ] = "synthesis",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the scores here too.")
    ] = None,
    precision: Precision = "auto",
) -> None:
    """Score a trained generator next to bicubic, on products or on a store (default: the run's own test split).

    RMSE, SRE, SAM, ERGAS, PSNR, bPSNR, SSIM, UIQ, Q, correlation, bias and GSM, per band and total, in reflectance
    x 10 000. The scores, and panels for `hpc-sr report`, go to RUN_DIR/evaluate. Works under any launcher: ranks
    share the windows.
    """
    from hpc_sr.comm.launch import connected
    from hpc_sr.evaluate.methods import BASELINES
    from hpc_sr.logs import setup_logging
    from hpc_sr.verbs.scoring import Request, evaluate_run

    with connected() as comm:
        setup_logging(comm.rank, comm.world_size)
        chosen = ("synthesis", "consistency") if protocol == "both" else (protocol,)
        names = tuple(
            name
            for name in BASELINES
            if name in {"bicubic", *(method or []), *(BASELINES if "all" in (method or []) else ())}
        )
        evaluate_run(
            run_dir, Request(product or [], store, chosen, names, precision=precision, json_file=json_file), comm
        )


def report(run_dir: RunDirectory) -> None:
    """Write RUN_DIR/report.html: loss curves, tables, picture panels, provenance, in one self-contained page."""
    from hpc_sr.report.html import write_report

    typer.echo(str(write_report(run_dir)))
