"""`hpc-sr inspect`: what a store holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpc_sr.cli.arguments import StoreDirectory


def inspect(
    store: StoreDirectory,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Where the contact sheet goes [STORE/contact_sheet.png].")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of tables; a sheet is drawn only with --sheet.")
    ] = False,
) -> None:
    """Show what a store holds: settings, splits, products, refusals, statistics, and a picture of some patches.

    The contact sheet shows 24 patches drawn from all splits, in all layers, stretched by product. `hpc-sr verify` tells
    whether the files are undamaged.
    """
    from data_prep.inspection import inspect as look_into

    look_into(store, sheet, as_json)
