"""What scoring costs beside what it scores: evaluation against inference and degradation of the same product.

    python -m hpc_sr.bench.evaluate --product SAFE [--run RUN_DIR | --width 128] [--rounds 3]

The limit of consistency is to predict each tile of the native bands once and to degrade the result; that of synthesis
is to degrade the bands and to predict. Both are timed in turn with the evaluation of the network alone, decoding
included. The share of the metrics is that of the same calls on the arrays in memory. Without --run, a network of
random weights is used: time does not depend on the weights.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from hpc_sr.bench.pairs import print_result, time_in_turn
from hpc_sr.comm.communicator import SerialComm
from hpc_sr.evaluate.metrics.measure import CONTEXT_PX, measure
from hpc_sr.evaluate.metrics.spectrum import measure_spectrum
from hpc_sr.evaluate.protocols.scenes import CORE_PX, Lineup, Scene, consistency_scene, synthesis_scene
from hpc_sr.evaluate.scoring import score_scene
from hpc_sr.infer.plan import cores_of
from hpc_sr.infer.predict import Predictor
from hpc_sr.infer.super_resolve import predict_native
from hpc_sr.infer.windows import Area, tile_cores
from hpc_sr.models.build import build_generator, count_parameters
from hpc_sr.models.facts import Facts
from hpc_sr.models.options import S2xOptions
from hpc_sr.models.precision import choose_precision
from hpc_sr.sentinel2.degrade import degrade, kernel
from hpc_sr.sentinel2.pairs import synthesis_pair
from hpc_sr.sentinel2.safe import BandReader, Product, open_product
from hpc_sr.tasks import S2X, Layer
from hpc_sr.weights.card import Card
from hpc_sr.weights.trained import Trained, load_trained


def main() -> None:
    """Print seconds of both protocols, of their limits, and of the metrics."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--product", type=Path, required=True)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    product = open_product(options.product)
    lineup = _lineup(options.run, options.width, product)
    with BandReader(product) as reader:
        synthesis = time_in_turn(
            lambda: _predict_degraded(product, lineup),
            lambda: _score(synthesis_scene(product, reader, lineup), lineup),
            options.rounds,
        )
        consistency = time_in_turn(
            lambda: _degrade_predicted(product, reader, lineup),
            lambda: _score(consistency_scene(product, reader, lineup), lineup),
            options.rounds,
        )
        metrics_s = _metrics_s(product, lineup)
    (network,) = lineup.networks
    print_result(
        "evaluate",
        product=product.name,
        task=lineup.task.name,
        model=network.card.model.model_dump(mode="json"),
        parameters=network.card.parameters,
        precision=network.precision,
        synthesis=synthesis,
        consistency=consistency,
        metrics_s=metrics_s,
        metrics_over_synthesis=metrics_s / synthesis["first_s"],
        metrics_over_consistency=metrics_s / consistency["first_s"],
    )


def _lineup(run: Path | None, width: int, product: Product) -> Lineup:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if run is not None:
        trained = load_trained(run)
    else:
        model, facts = S2xOptions(family="s2x", width=width), Facts(patch_px=32)
        generator = build_generator(model, S2X, facts)
        card = Card("s2x", model, facts, "mtf", product.level, count_parameters(generator), 0, 0)
        trained = Trained(generator, card, "untrained")
    predictor = Predictor.of(trained, device, choose_precision("auto", device))
    return Lineup(trained.generator.task, trained.card.degradation, (), (predictor,))


def _score(scene: Scene, lineup: Lineup) -> None:
    score_scene(scene, lineup.task.target.bands, lineup.task.scale, SerialComm())


def _predict_degraded(product: Product, lineup: Lineup) -> None:
    (predictor,) = lineup.networks
    pair = synthesis_pair(product, lineup.task, lineup.degradation)
    height, width = pair.shape

    def read(layer: Layer, inside: Area) -> np.ndarray:
        return pair.layers[layer.name][(slice(None), *inside.slices)].astype(np.float32)

    for core in cores_of([predictor], height, width):
        predictor.predict(read, core, height, width).cpu()


def _degrade_predicted(product: Product, reader: BandReader, lineup: Lineup) -> None:
    task, grid, (predictor,) = lineup.task, product.grids[10], lineup.networks
    whole = np.empty((len(task.target.bands), grid.height, grid.width), np.float32)
    for core in cores_of([predictor], grid.height, grid.width):
        whole[(slice(None), *core.slices)] = predict_native(predictor, reader, core).cpu().numpy()
    degrade(whole, kernel(lineup.degradation, task.scale, task.target.bands, product.satellite))


def _metrics_s(product: Product, lineup: Lineup) -> float:
    """Return the seconds of all metrics over the target grid."""
    grid, bands = product.grids[lineup.task.target.gsd_m], len(lineup.task.target.bands)
    seconds = 0.0
    for core in tile_cores(grid.height, grid.width, CORE_PX):
        area = core.grown(CONTEXT_PX).within(grid.height, grid.width)
        reference = torch.rand(bands, area.height, area.width) * 3000
        pair = reference, reference + torch.randn_like(reference) * 50, torch.ones(area.height, area.width).bool()
        inside = core.relative_to(area).slices
        began = time.perf_counter()
        measure(*pair, inside)
        measure_spectrum(*pair, inside)
        seconds += time.perf_counter() - began
    return seconds


if __name__ == "__main__":
    main()
