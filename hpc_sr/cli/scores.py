"""From runs and products, stores or other people's predictions to scores: joins recipe, evaluation and report."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from hpc_sr.classical.methods import check_baselines
from hpc_sr.cli.known_ground import held_out, known_ground, own_products, own_store
from hpc_sr.comm.communicator import Comm
from hpc_sr.disk import write_atomically
from hpc_sr.errors import HpcSrError, ImageError, ProductError, RecipeError
from hpc_sr.evaluate.evaluation import evaluate_products, evaluate_store, stamp_of, write_evaluation
from hpc_sr.evaluate.metrics.lpips import Lpips
from hpc_sr.evaluate.metrics.niqe import NiqeModel
from hpc_sr.evaluate.metrics.perceptual import Perceptual
from hpc_sr.evaluate.protocols.blocks import areas_of, on_areas
from hpc_sr.evaluate.protocols.external import evaluate_predictions
from hpc_sr.evaluate.protocols.external_images import Unit, open_image
from hpc_sr.evaluate.protocols.scenes import STAGES, Lineup, Scene
from hpc_sr.evaluate.protocols.truth import truth_scene
from hpc_sr.infer.predict import Predictor
from hpc_sr.infer.runs import load_models
from hpc_sr.logs import told_of
from hpc_sr.report.tables import console_table, markdown_table
from hpc_sr.sentinel2.safe import BandReader, Product, open_product
from hpc_sr.shards.reader import Store
from hpc_sr.shards.schema import BlocksLine
from hpc_sr.tasks import REFLECTANCE_ONE, Task, task_by_name
from hpc_sr.weights.ready import within_ready

ReferenceKind = Literal["own", "zeros", "other"]


@dataclass(frozen=True)
class Request:
    """What is to be scored, and how. No products and no store: what a run's recipe held out.

    `reference` is what networks of a task refsr_* get: the store's `own`, `zeros`, or those of `other` patches.
    `ma` is a file of scores of Ma et al. by network and picture.
    """

    products: tuple[Path, ...] = ()
    store: Path | None = None
    protocols: tuple[str, ...] = ("synthesis",)
    baselines: tuple[str, ...] = ("bicubic",)
    truth: Path | None = None
    mask: Path | None = None
    unit: Unit = "tags"
    truth_unit: Unit | None = None
    precision: str = "auto"
    niqe: Path | None = None
    niqe_white: float = REFLECTANCE_ONE
    lpips: tuple[Path, Path] | None = None
    json_file: Path | None = None
    reference: ReferenceKind = "own"
    ma: Path | None = None

    def perceptual(self, comm: Comm) -> Perceptual | None:
        """Return NIQE and LPIPS as far as they were asked for, None if not."""
        if self.niqe is None and self.lpips is None:
            return None
        return Perceptual(
            NiqeModel.load(self.niqe, self.niqe_white) if self.niqe else None,
            Lpips.load(*self.lpips, comm.device) if self.lpips else None,
        )


def score(runs: Sequence[Path], task: str, degradation: str, out: Path, request: Request, comm: Comm) -> None:
    """Score runs, or without any the methods alone on a task; print and write the tables. Collective."""
    if len(runs) > 1 and request.json_file is not None:
        raise RecipeError("one file cannot hold several runs", where="--json", cure="read RUN_DIR/evaluate instead")
    for run_dir in runs:
        evaluate_run(run_dir, request, comm, out)
    if not runs:
        if not (request.products or request.store):
            raise RecipeError(
                "there is nothing to score", cure="give a run, or products with --product, or a store with --store"
            )
        evaluate_together(task_by_name(task), degradation, (), (), out, request, comm)


def evaluate_run(
    run_dir: Path, request: Request, comm: Comm, out: Path = Path("evaluation")
) -> dict[str, dict[str, Any]]:
    """Score a run, print the tables and write RUN_DIR/evaluate/<protocol>.{json,md}. Return them. Collective.

    Scores of ready-made weights, which lie in the installed package, go to OUT/SET/NETWORK/evaluate.
    """
    (network,) = load_models([run_dir], request.precision, comm)
    task, degradation = network.generator.task, network.card.degradation
    ready = within_ready(run_dir)
    folder = run_dir if ready is None else out / ready
    return evaluate_together(task, degradation, (network,), (run_dir,), folder, request, comm)


def evaluate_external(predictions: Sequence[Path], out: Path, request: Request, comm: Comm) -> None:
    """Score images that somebody else made against a truth, print the tables and write OUT/evaluate. Collective."""
    if request.truth is None:
        raise RecipeError("there is nothing to compare with", where="--prediction", cure="give --truth FILE")
    named = {path.stem: path for path in predictions}
    if len(named) < len(predictions):
        raise RecipeError("two predictions have the same name", where="--prediction", cure="rename one")
    evaluation = evaluate_predictions(named, request.truth, comm, request.unit, request.truth_unit, mask=request.mask)
    _publish({"truth": evaluation}, out, request, comm)


def evaluate_together(
    task: Task,
    degradation: str,
    networks: tuple[Predictor, ...],
    runs: tuple[Path, ...],
    folder: Path,
    request: Request,
    comm: Comm,
) -> dict[str, dict[str, Any]]:
    """Score networks on the same pixels; print and write FOLDER/evaluate/<protocol>.{json,md}; return them. Collective.

    `runs` are the networks' own: the first one's recipe tells the products if none are asked for.
    """
    check_baselines(request.baselines, task)
    lineups = [Lineup(task.only(target), degradation, request.baselines, networks) for target in task.targets]
    perceptual = request.perceptual(comm)
    if request.products and request.store:
        raise RecipeError("both --product and --store are given", cure="give one of them")
    if request.truth is None and (request.mask is not None or request.truth_unit is not None):
        raise RecipeError("there is no truth", where="--mask or --truth-unit", cure="give --truth FILE")
    opened, failed = open_each(request.products)
    products = _distinct(opened)
    if not products and request.store is None:
        products = own_products(runs[0] if runs else folder)
    trained_on, blocks = known_ground(runs, products)
    evaluations: dict[str, dict[str, Any]] = {}
    if request.truth is not None:
        if len(products) != 1:
            raise RecipeError(f"{len(products)} products meet one truth", where="--truth", cure="give its one product")
        for lineup in _told_by(request.truth, request.truth_unit or request.unit, lineups):
            scored = _against_truth(lineup, products[0], folder, request, perceptual, comm)
            evaluations[lineup.label("truth")] = scored
    elif products:
        for lineup, protocol in itertools.product(lineups, request.protocols):
            stage, stamp = partial(_staged, protocol=protocol, blocks=blocks), json.dumps(blocks) if blocks else ""
            evaluations[lineup.label(protocol)] = evaluate_products(
                lineup, products, protocol, stage, comm, folder / "evaluate", perceptual, stamp
            )
    else:
        if request.protocols != ("synthesis",):
            raise RecipeError(
                "the consistency protocol needs native bands, a store holds degraded ones",
                where="--protocol",
                cure="give products with --product",
            )
        patches = Store(request.store or own_store(runs[0] if runs else folder))
        if comm.rank == 0 and lineups[0].label("synthesis") == "synthesis":
            made = folder / "evaluate"
            kinds = ("panels_synthesis", "worst_synthesis", "native")
            for stale in [path for kind in kinds for path in made.glob(f"{kind}_*.npz")]:
                stale.unlink()  # of products: their pictures do not belong to the scores of patches
        whole = Lineup(task, degradation, request.baselines, networks)
        evaluations["synthesis"] = evaluate_store(whole, patches, held_out(patches), comm, perceptual)
    for evaluation in evaluations.values():
        evaluation["trained_on"] = trained_on
    _publish(evaluations, folder, request, comm)
    for evaluation in evaluations.values():
        failed |= evaluation.get("failed", {})
    if failed:
        raise ProductError(
            f"{len(failed)} of {len(products) + len(request.products) - len(opened)} products could not be scored; "
            f"the first: {next(iter(failed.values()))}",
            where=folder / "evaluate",
            cure="mend them, then run again: what is scored is kept",
        )
    return evaluations


def open_each(paths: tuple[Path, ...]) -> tuple[list[Product], dict[str, str]]:
    """Return the products that can be opened, and what is wrong with the others by path; raises if none can be."""
    products: list[Product] = []
    failed: dict[str, str] = {}
    for path in paths:
        try:
            products.append(open_product(path))
        except HpcSrError as error:
            if len(paths) == 1 or len(failed) == len(paths) - 1:
                raise
            failed[str(path)] = told_of(error, path)
    return products, failed


def _staged(
    product: Product, reader: BandReader, lineup: Lineup, protocol: str, blocks: dict[str, BlocksLine]
) -> Scene:
    """Return a product under a protocol; only its held-out blocks are scored where it has any."""
    scene = STAGES[protocol](product, reader, lineup)
    if product.name not in blocks:
        return scene
    gsd_m = lineup.task.grid_gsd_m if protocol == "synthesis" else lineup.task.target.gsd_m
    return on_areas(scene, areas_of(blocks[product.name], product.grids[gsd_m]))


def _told_by(truth: Path, unit: Unit, lineups: list[Lineup]) -> list[Lineup]:
    """Return the line-ups of the targets whose bands a truth has, by name, or by number where it names none.

    Those of a task of one target are left to be judged by what scores them. Raises ImageError if there are none.
    """
    if len(lineups) == 1:
        return lineups
    with open_image(truth, unit) as image:
        has = image.bands
        count = image.count
    wanted = [lineup.task.target.bands for lineup in lineups]
    fits = [len(bands) == count if has is None else set(bands) <= set(has) for bands in wanted]
    told = [lineup for lineup, fit in zip(lineups, fits, strict=True) if fit]
    if not told:
        names = " nor ".join(", ".join(bands) for bands in wanted)
        found = f"{count} bands without names" if has is None else ", ".join(has)
        raise ImageError(f"has neither {names}: {found}", where=truth, cure="give the bands of one target, named")
    return told


def _against_truth(
    lineup: Lineup, product: Product, folder: Path, request: Request, perceptual: Perceptual | None, comm: Comm
) -> dict[str, Any]:
    assert request.truth is not None
    unit = request.truth_unit or request.unit
    stamp = f"{stamp_of(request.truth)} {unit} {stamp_of(request.mask) if request.mask else ''}"
    with ExitStack() as stack:
        truth = stack.enter_context(open_image(request.truth, unit))
        mask = stack.enter_context(open_image(request.mask, "dn")) if request.mask else None
        stage = partial(truth_scene, truth=truth, mask=mask)
        return evaluate_products(lineup, [product], "truth", stage, comm, folder / "evaluate", perceptual, stamp)


def _distinct(products: list[Product]) -> list[Product]:
    """Return the products, each once. Raises RecipeError if two others have one name: scores are kept by name."""
    named: dict[str, Product] = {}
    for product in products:
        known = named.setdefault(product.name, product)
        if known.path.resolve() != product.path.resolve():
            raise RecipeError(
                f"{known.path} and {product.path} are both {product.name}",
                where="--product",
                cure="score them one by one, with an --out each",
            )
    return list(named.values())


def _publish(evaluations: dict[str, dict[str, Any]], folder: Path, request: Request, comm: Comm) -> None:
    if comm.rank != 0:
        return
    for protocol, evaluation in evaluations.items():
        write_evaluation(evaluation, folder / "evaluate" / f"{protocol}.json")
        write_atomically(folder / "evaluate" / f"{protocol}.md", markdown_table(evaluation))
    if request.json_file is not None:
        write_evaluation(evaluations, request.json_file)
    for evaluation in evaluations.values():
        Console(emoji=False).print(console_table(evaluation))
