"""All the way in minutes: on made-up landscapes, or on the two halves of a real scene."""

from __future__ import annotations

import json
import time
from pathlib import Path

from data_prep.build import prepare
from data_prep.synthetic import Scene, landscape, read_scene, write_product
from hpc_sr.cli.scores import Request, evaluate_run
from hpc_sr.cli.train import train_recipe
from hpc_sr.comm.communicator import SerialComm
from hpc_sr.comm.mpi import SerialWorld
from hpc_sr.disk import check_path, is_there, telling, whole_folder
from hpc_sr.errors import OutputError, ShapeError
from hpc_sr.infer.runs import infer_product
from hpc_sr.logs import logger
from hpc_sr.recipe import Recipe
from hpc_sr.report.html import write_report
from hpc_sr.sentinel2.bands import BANDS
from hpc_sr.tasks import task_by_name

_TRAINING_TILES = ("33UUB", "32TQM", "31TCJ")
_HELD_OUT_TILE = "30TYN"
_SIZE_10M = 720
#: A scene is halved along lines that all grids of both tasks share.
_UNIT_10M = 36


def run_demo(out: Path, scene: Path | None) -> Path:
    """Prepare, train, evaluate on a product that was not trained on, infer and report; return the report's path.

    What an earlier run of the same demo has finished is kept. Raises OutputError if OUT holds another one's.
    """
    began = time.perf_counter()
    products = out / "products"
    check_path(products)
    _make_products(products, scene)
    (held_out,) = products.glob(f"*_T{_HELD_OUT_TILE}_*.SAFE")
    recipe = _recipe(out, products)
    task, comm = task_by_name(recipe.task), SerialComm()
    assert recipe.prepare is not None
    prepare(recipe.prepare, task, Path(recipe.store), SerialWorld())
    directory = recipe.run_directory
    train_recipe(recipe, comm)
    evaluate_run(directory, Request((held_out,), protocols=("synthesis", "consistency")), comm)
    (directory / "sr").mkdir(exist_ok=True)
    tif = infer_product(directory, held_out, directory / "sr" / f"{held_out.stem}.tif", "auto")
    report = write_report(directory)
    ratio = json.loads((directory / "evaluate" / "synthesis.json").read_text())["ratio_to_bicubic"]["s2x"]["rmse"]
    logger.info("RMSE is %.2f of bicubic's on a product that was not trained on", ratio)
    logger.info("%s: all bands at 10 m; %s: look at this", tif, report)
    logger.info("done in %.0f s", time.perf_counter() - began)
    return report


def _make_products(products: Path, scene: Path | None) -> None:
    """Write the products into a folder, all or none, unless they are there already."""
    origin = "made-up landscapes" if scene is None else str(scene.resolve())
    told = products / "ORIGIN.txt"
    if is_there(products):
        if not told.is_file() or told.read_text(encoding="utf-8") != f"{origin}\n":
            raise OutputError(f"is there and not of {origin}", where=products, cure="remove it or give another --out")
        logger.info("%s is there: going on with what is finished", products)
        return
    logger.info("starting afresh, with %s", origin)
    with telling(products), whole_folder(products) as folder:
        if scene is None:
            for seed, tile in enumerate((*_TRAINING_TILES, _HELD_OUT_TILE)):
                write_product(folder, landscape(_SIZE_10M, seed), tile=tile)
        else:
            left, right = _halves(read_scene(scene), scene)
            write_product(folder, left, tile=_TRAINING_TILES[0])
            write_product(folder, right, tile=_HELD_OUT_TILE)
        (folder / told.name).write_text(f"{origin}\n", encoding="utf-8")


def _recipe(out: Path, products: Path) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "s2x_demo",
            "task": "s2x",
            "store": str(out / "store"),
            "prepare": {
                "products": [str(products / "*.SAFE")],
                "degradation": "mtf",
                "patch_px": 32,
                "stride_px": 16,
                "split": {"test": [_HELD_OUT_TILE]},
            },
            "model": {"family": "s2x", "width": 32, "blocks": 4},
            "optimizer": {"base_lr": 1e-3},
            "schedule": {"total_samples": 24_000, "decay": "cosine", "warmup_samples": 1_600},
            "train": {
                "batch_size_per_rank": 16,
                "runs": str(out / "runs"),
                "log_every_steps": 100,
                "checkpoint_every_steps": 250,
            },
        }
    )


def _halves(scene: Scene, path: Path) -> tuple[Scene, Scene]:
    """Return the left and the right half of a scene."""
    width = scene.shape_10m[1] // 2 // _UNIT_10M * _UNIT_10M
    if not width:
        raise ShapeError(
            f"{scene.shape_10m} px cannot be halved", where=path, cure=f"give twice {_UNIT_10M} px or more"
        )
    left, right = {}, {}
    for name, dn in scene.dn.items():
        columns = width * 10 // BANDS[name].gsd_m
        left[name], right[name] = dn[:, :columns].copy(), dn[:, columns : 2 * columns].copy()
    return Scene(left), Scene(right)
