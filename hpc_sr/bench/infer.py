"""Inference of one product: where the time goes, peak host memory, and the share of the bare forward passes.

    python -m hpc_sr.bench.infer --product SAFE [--run RUN_DIR ...] [--size-px 2000] [--window-px 960] ...

The bare forward passes are those of the same windows on tensors in memory, measured in the same process, before
and after inference. Decoding, assembling and writing are seconds of threads of their own; `wait` is how long the
network had to wait for them. Without --run a narrow network of random weights is used: time and memory do not depend on
weights. --size-px takes a square from the product's upper-left corner; without it all of the tile.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

from hpc_sr.bench.pairs import print_result
from hpc_sr.comm.communicator import SerialComm
from hpc_sr.comm.launch import pin_device
from hpc_sr.infer.images import ProductImage
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.plan import Plan, make_plan
from hpc_sr.infer.predict import Predictor, read_area
from hpc_sr.infer.region import Region
from hpc_sr.infer.runs import load_models
from hpc_sr.infer.super_resolve import super_resolve
from hpc_sr.models.build import build_generator, count_parameters
from hpc_sr.models.facts import Facts
from hpc_sr.models.options import S2xOptions
from hpc_sr.models.precision import autocast
from hpc_sr.sentinel2.safe import open_product
from hpc_sr.tasks import S2X
from hpc_sr.weights.card import Card
from hpc_sr.weights.folder import save_generator


def main() -> None:
    """Print seconds by stage, peak memory and the share of the bare forward passes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--product", type=Path, required=True)
    parser.add_argument("--run", type=Path, nargs="+")
    parser.add_argument("--size-px", type=int)
    parser.add_argument("--window-px", type=int, help="side of what is kept of a window [by device]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--out-dir", type=Path, help="where the image is made [the temporary folder]")
    chosen = parser.parse_args()
    image = ProductImage(open_product(chosen.product))
    region = Region("pixels", (0, 0, chosen.size_px, chosen.size_px)) if chosen.size_px else None
    options, comm = InferOptions(region=region, window_px=chosen.window_px), SerialComm(pin_device(0))
    with tempfile.TemporaryDirectory(dir=chosen.out_dir) as folder:
        runs = chosen.run or [_random_model(Path(folder) / "model", image.level)]
        models = load_models(runs, chosen.precision, comm)
        plan = make_plan(models, image, options)
        before = _bare_forward_s(plan, chosen.rounds)
        began = time.perf_counter()
        outcome = super_resolve(models, image, Path(folder) / "sr.tif", options, comm)
        took_s = time.perf_counter() - began
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        after = _bare_forward_s(plan, chosen.rounds)
        output_bytes = outcome.path.stat().st_size
    seconds = outcome.seconds.as_dict()
    forward_s = (before + after) / 2
    print_result(
        "infer",
        product=image.name,
        size_10m_px=[plan.area.height, plan.area.width],
        windows=outcome.windows,
        window_px=max(window.height for window in plan.windows),
        bands=len(plan.bands),
        models=[model.card.model.model_dump(mode="json") for model in models],
        parameters=[count_parameters(model.generator) for model in models],
        precision=models[0].precision,
        seconds=took_s,
        seconds_by_stage=seconds,
        finish_s=took_s - seconds["total"],
        bare_forward_s=forward_s,
        bare_forward_s_before_after=[before, after],
        bare_forward_share=forward_s / took_s,
        bare_forward_share_without_finish=forward_s / seconds["total"],
        peak_host_bytes=peak_bytes,
        output_bytes=output_bytes,
    )


def _random_model(folder: Path, level: str) -> Path:
    options, facts = S2xOptions(family="s2x", width=48), Facts(patch_px=32)
    generator = build_generator(options, S2X, facts)
    folder.mkdir()
    card = Card("s2x", options, facts, "mtf", level, count_parameters(generator), step=0, samples=0)
    save_generator(folder, generator, card)
    return folder


def _bare_forward_s(plan: Plan, rounds: int) -> float:
    """Return the seconds of the networks alone: the median of each shape of window times how often it comes."""
    total_s = 0.0
    for model in plan.models:
        assert isinstance(model, Predictor), "the plan is for networks"
        areas = (read_area(model.generator, window) for window in plan.windows)
        for (height, width), count in Counter((area.height, area.width) for area in areas).items():
            total_s += count * statistics.median(_passes_s(model, height, width, rounds))
    return total_s


def _passes_s(predictor: Predictor, height: int, width: int, rounds: int) -> list[float]:
    inputs = [
        torch.rand(1, len(x.bands), height // x.stride, width // x.stride, device=predictor.device)
        for x in predictor.generator.task.inputs
    ]
    seconds = []
    with torch.inference_mode(), autocast(predictor.device, predictor.precision):
        for _ in range(rounds + 1):
            began = time.perf_counter()
            predictor.generator(*inputs).targets[0][0, 0, 0, 0].item()
            seconds.append(time.perf_counter() - began)
    return seconds[1:]  # the first one is a warm-up


if __name__ == "__main__":
    main()
