"""Train several runs of a recipe in one launch: `python train_runs.py RECIPE OVERRIDES...`, a JSON list for each."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from options_contract import with_options

from hpc_sr.cli.train import train_recipe
from hpc_sr.comm.launch import connected
from hpc_sr.recipe import load_recipe


def main() -> None:
    recipe, *runs = sys.argv[1:]
    with connected() as comm:
        for overrides in map(json.loads, runs):
            settings = load_recipe(Path(recipe), overrides)
            print(f"{settings.name} begins", file=sys.stderr, flush=True)
            train_recipe(settings, with_options(comm, settings.comm))


if __name__ == "__main__":
    main()
