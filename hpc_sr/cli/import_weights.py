"""`hpc-sr import-weights`: published weights of networks for pictures as a folder that infer and evaluate take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_weights(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Tensors by name: .safetensors, or what torch saves.")],
    family: Annotated[str, typer.Argument(metavar="FAMILY", help="srcnn, fsrcnn, srresnet, rrdb or efdn.")],
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="key=value", help="Options of the family that no shape tells, as colours=ycbcr."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="RUN", help="The folder to write; it must not exist.")] = ...,  # type: ignore[assignment]
    task: Annotated[
        str | None, typer.Option(help="The task, sisr_x2 to sisr_x4, where no shape tells the scale.")
    ] = None,
) -> None:
    """Turn published weights into a folder that infer, evaluate and export take like a run directory.

    Tensors are matched by name and shape; what does not fit is named. Width, blocks, scale and colours are read off
    the shapes, as far as these tell them.

      hpc-sr import-weights RealESRGAN_x4plus.safetensors rrdb --out runs/rrdb

      hpc-sr import-weights fsrcnn_x3.pth fsrcnn --task sisr_x3 padding=replicate crop_px=3 --out runs/fsrcnn
    """
    from hpc_sr.config import override
    from hpc_sr.weights.published import import_published

    card = import_published(file, family, out, task, override({}, list(options or ())))
    told = ", ".join(f"{key} {value}" for key, value in card.model.model_dump().items() if key != "family")
    typer.echo(f"{out}: {card.family} for {card.task}, {told}, {card.parameters:,} parameters")
