"""The command line, a module for each verb: parse, connect, call. Rooms are imported by the verb that needs them."""

from __future__ import annotations

from typing import Annotated

import typer

from hpc_sr import __version__
from hpc_sr.cli import (
    benchmark,
    demo,
    doctor,
    evaluate,
    export,
    import_keras,
    import_weights,
    infer,
    inspect,
    looks,
    merge,
    prepare,
    quality,
    recipe,
    report,
    scaling,
    slurm,
    synthetic,
    train,
    verify,
    weights,
)

app = typer.Typer(
    epilog="Start with: hpc-sr infer X.SAFE, or hpc-sr demo, which needs no data. Every verb has a --help.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"hpc_sr {__version__}")
        raise typer.Exit


@app.callback()
def _hpc_sr(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Sentinel-2 super-resolution: products to patch stores, distributed training, evaluation, 10 m GeoTIFFs."""


for _verb in (
    recipe.recipe,
    prepare.prepare,
    inspect.inspect,
    verify.verify,
    merge.merge,
    train.train,
    benchmark.benchmark,
    scaling.scaling,
    quality.quality,
    evaluate.evaluate,
    infer.infer,
    report.report,
    export.export,
    import_keras.import_keras,
    import_weights.import_weights,
    weights.weights,
    looks.looks,
    slurm.slurm,
    synthetic.synthetic,
    doctor.doctor,
    demo.demo,
):
    app.command()(_verb)
