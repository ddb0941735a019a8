"""`hpc-sr synthetic`: a made-up product."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def synthetic(
    out_dir: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="The folder for the product; made if absent.")],
    scene: Annotated[
        Path | None, typer.Option(metavar="FILE.npz", help="The pixels to write; without it, a landscape is drawn.")
    ] = None,
    level: Annotated[Literal["L1C", "L2A"], typer.Option(help="The processing level.")] = "L1C",
    baseline: Annotated[str, typer.Option(metavar="NN.NN", help="The processing baseline.")] = "05.09",
    satellite: Annotated[Literal["S2A", "S2B", "S2C"], typer.Option(help="The spacecraft.")] = "S2A",
    size_10m: Annotated[
        int | None,
        typer.Option(
            "--size-10m",
            metavar="N",
            help="Its side in 10 m pixels, a multiple of 6; a tile has 10980. Default: 720, or the scene's.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Chooses the landscape, and the tile.")] = 0,
    tile: Annotated[
        str | None, typer.Option(metavar="33UUB", help="The MGRS tile: name and corner. Default: the seed's.")
    ] = None,
    date: Annotated[str, typer.Option(metavar="YYYY-MM-DD", help="The day of sensing.")] = "2023-06-15",
) -> None:
    """Write a complete SAFE product of a made-up landscape, or of the pixels in a file, and print its path.

    JPEG2000 bands without loss, quality masks and metadata, with the offset that the baseline asks for: none before
    04.00, -1000 from there on. The landscape has fields, woods, roads, towns and water, in every band with the band's
    own sharpness. Another seed is another landscape on another tile, so that products split by tile.

    FILE.npz holds three arrays of uint16, reflectance x 10 000 without offset, 0 for nodata, 65535 for saturated:

    * d10 (H, W, 4): B02 B03 B04 B08

    * d20 (H/2, W/2, 6): B05 B06 B07 B8A B11 B12

    * d60 (H/6, W/6, 2): B01 B09
    """
    from data_prep.synthetic import write_made_up

    path = write_made_up(
        out_dir,
        scene,
        size_10m=size_10m,
        seed=seed,
        level=level,
        baseline=baseline,
        satellite=satellite,
        tile=tile,
        date=date,
    )
    typer.echo(str(path))
