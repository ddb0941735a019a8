"""`hpc-sr import-keras`: published weights as a folder that evaluate and infer take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def import_keras(
    file: Annotated[Path, typer.Argument(metavar="FILE.hdf5", help="Keras weights of a DSen2 or VDSen2.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write; it must not exist.")],
    level: Annotated[
        Literal["L1C", "L2A"], typer.Option(help="Level of the products that the network was trained on.")
    ] = "L1C",
    bands_10m: Annotated[
        str, typer.Option("--bands-10m", metavar="B,B,B,B", help="Order of its 10 m inputs; the default is GDAL's.")
    ] = "B04,B03,B02,B08",
) -> None:
    """Turn published DSen2 or VDSen2 weights into a folder that evaluate and infer take like a run directory.

    Task, width and blocks are read off the file. The published networks were trained on L1C with degradation wald.
    """
    from hpc_sr.weights.keras import import_dsen2

    card = import_dsen2(file, out, level, tuple(bands_10m.split(",")))
    options = card.model.model_dump()
    typer.echo(
        f"{out}: {card.family} for {card.task}, {options['width']} channels, {options['blocks']} blocks, "
        f"{card.parameters:,} parameters, {card.level}, degradation {card.degradation}"
    )
