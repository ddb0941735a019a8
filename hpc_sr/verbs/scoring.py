"""From a run and products or a store to scores."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from hpc_sr.comm.communicator import Comm
from hpc_sr.errors import RecipeError
from hpc_sr.evaluate.evaluation import evaluate_products, evaluate_store, write_evaluation
from hpc_sr.infer.predict import Predictor
from hpc_sr.logs import check_writable, write_atomically
from hpc_sr.models.precision import choose_precision
from hpc_sr.recipe import load_recipe
from hpc_sr.report.tables import console_table, markdown_table
from hpc_sr.sentinel2.safe import open_product
from hpc_sr.shards.reader import Store
from hpc_sr.weights import load_generator


def evaluate_run(
    run_dir: Path, products: list[Path], store: Path | None, protocols: tuple[str, ...], json_file: Path | None,
    precision: str, comm: Comm,
) -> None:  # fmt: skip
    """Score a run, print the tables and write RUN_DIR/evaluate/<protocol>.{json,md} and `json_file`. Collective."""
    if products and store:
        raise RecipeError("both --product and --store are given", cure="give one of them")
    if json_file is not None:
        check_writable(json_file)
    generator, card = load_generator(run_dir)
    predictor = Predictor.of(generator, comm.device, choose_precision(precision, comm.device))
    folder = run_dir / "evaluate"
    if comm.rank == 0:
        for stale in [panel for protocol in protocols for panel in folder.glob(f"panels_{protocol}_*.npz")]:
            stale.unlink()
    evaluations = {}
    if products:
        opened = [open_product(path) for path in products]
        for protocol in protocols:
            evaluations[protocol] = evaluate_products(predictor, card, opened, protocol, comm, folder)
    else:
        if protocols != ("synthesis",):
            raise RecipeError(
                "the consistency protocol needs native bands, a store holds degraded ones", where="--protocol",
                cure="give products with --product",
            )  # fmt: skip
        patches = Store(store or _own_store(run_dir))
        split = next((name for name in ("test", "validation") if patches.manifest.splits[name]), "test")
        evaluations["synthesis"] = evaluate_store(predictor, card, patches, split, comm)
    if comm.rank == 0:
        for protocol, evaluation in evaluations.items():
            write_evaluation(evaluation, folder / f"{protocol}.json")
            write_atomically(folder / f"{protocol}.md", markdown_table(evaluation))
            Console().print(console_table(evaluation))
        if json_file is not None:
            write_evaluation(evaluations, json_file)


def _own_store(run_dir: Path) -> Path:
    """Return the store that a run was trained on, from the recipe in its directory."""
    return Path(load_recipe(run_dir / "recipe.yaml").store)
