"""`hpc-sr merge`: several stores become one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The store to write; it must not exist.")],
    stores: Annotated[list[Path], typer.Argument(metavar="STORE", help="The stores to put together.")],
) -> None:
    """Put stores together that were made with the same settings of different products.

    No patch is cut again: shards are linked or copied, statistics added up. Stores that differ in task, level,
    degradation or patches, that hold the same product, or of which one trains on a tile that another holds out, do
    not merge.
    """
    from data_prep.merge import merge as put_together
    from hpc_sr.logs import setup_logging

    setup_logging()
    typer.echo(f"{out}: {put_together(out, stores).contents()}")
