"""How good a recipe is on ground that it has not seen: each product held out once, the recipe trained on the others.

    python -m hpc_sr.bench.accuracy RECIPE [key=value ...] --out DIR --hold-out 33UUB 19HBV [--method guided]
                                    [--task s6x]

The products are those of the recipe; those that are not named by --hold-out are always trained on. Each is prepared,
trained and scored in DIR/NAME, where NAME is the tile. Killed and run again, it goes on; under a launcher the ranks
share each step. DIR/accuracy.json and .md hold what is left of bicubic's RMSE (`rmse_band_mean`) on every product,
synthesis and consistency, beside the noise floor: what noise alone would leave of a perfect estimate. A network of
family band that was trained on other bands is scored on those of --task.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.build import prepare
from data_prep.catalog import find_paths
from data_prep.options import PrepareOptions
from hpc_sr.cli.export import export_for
from hpc_sr.cli.scores import Request, evaluate_run
from hpc_sr.cli.train import train_recipe
from hpc_sr.comm.communicator import Comm
from hpc_sr.comm.launch import connected
from hpc_sr.comm.mpi import mpi_world
from hpc_sr.comm.options import CommOptions
from hpc_sr.disk import write_atomically
from hpc_sr.errors import RecipeError
from hpc_sr.logs import setup_logging
from hpc_sr.recipe import Recipe, load_recipe
from hpc_sr.sentinel2.pairs import synthesis_pair
from hpc_sr.sentinel2.safe import Product, open_product
from hpc_sr.tasks import Task, task_by_name

_SCORE = "rmse_band_mean"
#: Noise is looked for in blocks of this side, in the quietest tenth of each quarter of brightness.
_BLOCK_PX, _QUIETEST = 8, 0.1
_MASK = np.array([1.0, -2.0, 1.0])


def main() -> None:
    """Print the table of what is left of bicubic's error, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hold-out", nargs="+", required=True, metavar="TILE")
    parser.add_argument("--method", nargs="*", default=["guided"])
    parser.add_argument("--task", type=task_by_name)
    options = parser.parse_args()
    recipe = load_recipe(options.recipe, options.overrides)
    with connected(CommOptions(stall_s=24 * 3600)) as comm:
        setup_logging(comm.rank, comm.world_size)
        rows = [
            measure(recipe, tile, tuple(options.method), options.out, comm, options.task) for tile in options.hold_out
        ]
        if comm.rank == 0:
            told = as_markdown(rows)
            write_atomically(options.out / "accuracy.json", json.dumps(rows, indent=1))
            write_atomically(options.out / "accuracy.md", told)
            print(told)


def measure(
    recipe: Recipe, tile: str, methods: tuple[str, ...], out: Path, comm: Comm, use: Task | None = None
) -> dict[str, Any]:
    """Return a held-out product's scores by a recipe that was trained on the others, and by methods. Collective.

    `use` is the task that the network is used for, if not the one that it was trained for.
    """
    fold = fold_of(recipe, tile, out / tile)
    assert fold.prepare is not None
    held_out = _held_out(fold.prepare, tile)
    prepare(fold.prepare, task_by_name(fold.task), Path(fold.store), mpi_world())
    train_recipe(fold, comm)
    task, trained = use or task_by_name(fold.task), fold.run_directory
    if use is not None:
        trained = fold.run_directory / f"as_{use.name}"
        if comm.rank == 0 and not trained.exists():
            export_for(use, fold.run_directory, trained, "safetensors")
        comm.barrier()
    request = Request((held_out.path,), protocols=("synthesis", "consistency"), baselines=("bicubic", *methods))
    evaluations = evaluate_run(trained, request, comm)
    scores = {
        protocol: {name: found["total"][_SCORE] for name, found in evaluation["mean"].items()}
        for protocol, evaluation in evaluations.items()
    }
    floor = noise_floor(held_out, task, fold.prepare.degradation)
    return {"tile": tile, "product": held_out.name, "recipe": recipe.name, "noise": floor, "rmse": scores}


def _held_out(options: PrepareOptions, tile: str) -> Product:
    found = [open_product(path) for path in find_paths(options.products, "prepare.products")]
    named = [product for product in found if product.tile == tile]
    if len(named) != 1:
        raise RecipeError(f"{len(named)} products are of tile {tile!r}", where="--hold-out", cure="name one's tile")
    return named[0]


def fold_of(recipe: Recipe, tile: str, folder: Path) -> Recipe:
    """Return the recipe with a tile held out, its store and run in a folder. Raises RecipeError if it prepares none."""
    if recipe.prepare is None:
        raise RecipeError("has no `prepare` section", where=recipe.name, cure="give one that names products")
    split = recipe.prepare.split.model_copy(update={"test": (tile,)})
    return recipe.model_copy(
        update={
            "store": str(folder / "store"),
            "prepare": recipe.prepare.model_copy(update={"split": split}),
            "train": recipe.train.model_copy(update={"runs": str(folder)}),
        }
    )


def noise_floor(product: Product, task: Task, degradation: str) -> float:
    """Return the mean over bands of the noise of what estimates are compared with, in reflectance x 10 000.

    An estimate without any error differs from a measurement by the measurement's own noise, see `noise_of`.
    """
    truth = synthesis_pair(product, task, degradation).layers[task.target.name]
    return float(np.mean([noise_of(band.astype(np.float64)) for band in truth]))


def noise_of(band_HW: np.ndarray) -> float:
    """Return the standard deviation of a band's white noise, in its unit.

    The second difference along both axes is blind to all that is linear in the ground, and has 36 times the variance
    of the noise (Immerkaer 1996, https://doi.org/10.1006/cviu.1996.0060). Texture adds to it, so of each quarter of
    brightness the quietest tenth of all blocks counts: noise grows with brightness.
    """
    rows = sum(w * band_HW[k : band_HW.shape[0] - 2 + k] for k, w in enumerate(_MASK))
    both = sum(w * rows[:, k : band_HW.shape[1] - 2 + k] for k, w in enumerate(_MASK))
    height, width = (size // _BLOCK_PX * _BLOCK_PX for size in both.shape)

    def blocks(image: np.ndarray) -> np.ndarray:
        cut = image[:height, :width].reshape(height // _BLOCK_PX, _BLOCK_PX, width // _BLOCK_PX, _BLOCK_PX)
        return cut.mean((1, 3)).ravel()

    variance, brightness = blocks(both**2) / 36.0, blocks(band_HW[1:-1, 1:-1])
    quarters = np.array_split(variance[np.argsort(brightness)], 4)
    return float(np.sqrt(np.mean([np.quantile(quarter, _QUIETEST) for quarter in quarters])))


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table of every product: its method's share of bicubic's RMSE, and the noise floor's."""
    lines = []
    for row in rows:
        for protocol, scores in row["rmse"].items():
            bicubic = scores["bicubic"]
            floor = row["noise"] / bicubic if protocol == "synthesis" else None
            ratios = [f"{value / bicubic:.3f}" for name, value in scores.items() if name != "bicubic"]
            lines.append([row["tile"], protocol, f"{bicubic:.1f}", *ratios, "-" if floor is None else f"{floor:.3f}"])
    names = [name for name in next(iter(rows[0]["rmse"].values())) if name != "bicubic"]
    heading = ["tile", "protocol", "bicubic, RMSE", *names, "noise floor"]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heading, ["---"] * len(heading), *lines))


if __name__ == "__main__":
    main()
