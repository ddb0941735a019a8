"""The command line, a module for each verb: parse, connect, call. Rooms are imported by the verb that needs them."""

from __future__ import annotations

import typer

from hpc_sr.cli import (
    benchmark,
    demo,
    doctor,
    evaluate,
    export,
    import_keras,
    infer,
    inspect,
    merge,
    prepare,
    report,
    scaling,
    train,
    verify,
)

app = typer.Typer(
    help="Sentinel-2 super-resolution: products to patch stores, distributed training, evaluation, 10 m GeoTIFFs.",
    epilog="Start with: hpc-sr doctor, then hpc-sr demo. Every verb has a --help.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
)

for _verb in (
    prepare.prepare,
    inspect.inspect,
    verify.verify,
    merge.merge,
    train.train,
    benchmark.benchmark,
    scaling.scaling,
    evaluate.evaluate,
    infer.infer,
    report.report,
    export.export,
    import_keras.import_keras,
    doctor.doctor,
    demo.demo,
):
    app.command()(_verb)
