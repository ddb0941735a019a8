"""Arguments and options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

RecipeFile = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="A YAML recipe; `hpc-sr recipe` lists those that come with hpc_sr.")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="key=value", help="Overrides, for example train.seed=7 model.width=64.")
]
RunDirectory = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A run directory that `hpc-sr train` wrote.")]
StoreDirectory = Annotated[Path, typer.Argument(metavar="STORE", help="A store that `hpc-sr prepare` wrote.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    typer.Option(metavar="TYPE", help="Numbers of the network: fp32, bf16, fp16; auto: the fastest here."),
]
