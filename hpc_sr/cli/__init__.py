"""The command line: parse, connect, call one function. Rooms are imported by the verb that needs them."""

from __future__ import annotations

import typer

from hpc_sr.bench.commands import benchmark, scaling
from hpc_sr.cli.exporting import export
from hpc_sr.cli.importing import import_keras
from hpc_sr.cli.inference import infer
from hpc_sr.cli.scoring import evaluate, report
from hpc_sr.cli.start import demo, doctor
from hpc_sr.cli.stores import inspect, merge, prepare, verify
from hpc_sr.cli.training import train

app = typer.Typer(
    help="Sentinel-2 super-resolution: products to patch stores, distributed training, evaluation, 10 m GeoTIFFs.",
    epilog="Start with: hpc-sr doctor, then hpc-sr demo. Every verb has a --help.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
)

for _verb in (
    prepare,
    inspect,
    verify,
    merge,
    train,
    benchmark,
    scaling,
    evaluate,
    infer,
    report,
    export,
    import_keras,
    doctor,
    demo,
):
    app.command()(_verb)
