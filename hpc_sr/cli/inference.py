"""The verb that writes GeoTIFFs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpc_sr.cli.arguments import Precision, RunDirectory


def infer(
    run_dir: RunDirectory,
    product: Annotated[Path, typer.Argument(metavar="PRODUCT", help="A .SAFE product of the model's level.")],
    out: Annotated[Path, typer.Option(metavar="FILE.tif", help="The GeoTIFF to write.")],
    precision: Precision = "auto",
) -> None:
    """Write a product's bands at 10 m as a tiled, compressed GeoTIFF.

    Native 10 m bands keep their DN, super-resolved ones follow the same convention: georeference, nodata, scale and
    offset are the product's. Memory is bounded whatever the product's size.
    """
    from hpc_sr.logs import setup_logging
    from hpc_sr.verbs.inference import infer_product

    setup_logging()
    typer.echo(str(infer_product(run_dir, product, out, precision)))
