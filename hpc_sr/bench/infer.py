"""Inference of one product: wall time, peak host memory, and the bare forward pass over as many windows.

    python -m hpc_sr.bench.infer --product SAFE [--run RUN_DIR] [--windows 4]

Inference runs in a process of its own, whose peak memory is the operating system's figure. Without --run, a narrow
network of random weights is used: time and memory do not depend on the weights.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from hpc_sr.bench.pairs import print_result
from hpc_sr.infer.predict import read_area
from hpc_sr.infer.tile import core_px_of
from hpc_sr.infer.windows import Area, tile_cores
from hpc_sr.models.build import build_generator, count_parameters
from hpc_sr.models.generator import Generator
from hpc_sr.models.options import ModelOptions
from hpc_sr.models.precision import autocast, choose_precision
from hpc_sr.sentinel2.safe import open_product
from hpc_sr.tasks import S2X
from hpc_sr.weights import Card, load_generator, save_generator


def main() -> None:
    """Print seconds, peak memory and the share of the bare forward pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--product", type=Path, required=True)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--windows", type=int, default=4)
    options = parser.parse_args()
    product = open_product(options.product)
    with tempfile.TemporaryDirectory() as folder:
        run = options.run or _random_model(Path(folder) / "model", product.level)
        generator, card = load_generator(run)
        out = Path(folder) / "sr.tif"
        command = [sys.executable, "-m", "hpc_sr", "infer", str(run), str(options.product), "--out", str(out)]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        took_s = time.perf_counter() - began
        peak_bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        size_bytes = out.stat().st_size
    grid = product.grids[10]
    cores = tile_cores(grid.height, grid.width, core_px_of(generator))
    forward_s = _forward_s(generator, cores[0], options.windows) * len(cores)
    print_result(
        "infer", product=product.name, size_10m_px=[grid.height, grid.width], windows=len(cores),
        parameters=count_parameters(generator), model=card.model, seconds=took_s, peak_host_bytes=peak_bytes,
        bare_forward_s=forward_s, bare_forward_share=forward_s / took_s, output_bytes=size_bytes,
    )  # fmt: skip


def _random_model(folder: Path, level: str) -> Path:
    options = ModelOptions(family="s2x", width=48)
    generator = build_generator(options, S2X, 32)
    folder.mkdir()
    card = Card("s2x", 32, options.model_dump(exclude_none=True), "mtf", level, count_parameters(generator), 0, 0)
    save_generator(folder, generator, card)
    return folder


def _forward_s(generator: Generator, core: Area, repeats: int) -> float:
    """Return the median seconds of the network on one window's worth of tensors in memory."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = generator.to(device)
    around = read_area(generator, core)
    inputs = [
        torch.rand(1, len(x.bands), around.height // x.stride, around.width // x.stride, device=device)
        for x in generator.task.inputs
    ]
    seconds = []
    with torch.inference_mode(), autocast(device, choose_precision("auto", device)):
        for _ in range(repeats + 1):
            began = time.perf_counter()
            generator(*inputs)[0, 0, 0, 0].item()
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
