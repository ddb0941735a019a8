"""`hpc-sr demo`: all the way in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where everything goes.")] = Path("demo"),
    scene: Annotated[
        Path | None, typer.Option(metavar="FILE.npz", help="Real pixels: left half to train on, right half to score.")
    ] = None,
) -> None:
    """Go all the way in minutes: products, store, training, evaluation, GeoTIFF, report. Needs no data.

    Stopped and run again, it goes on with what is there.
    """
    from hpc_sr.comm.signals import end_on_signals

    end_on_signals()  # before anything large is loaded
    from hpc_sr.demo import run_demo
    from hpc_sr.logs import setup_logging

    setup_logging()
    run_demo(out, scene)
