"""Methods without training: seconds a scene at its native size, and RMSE over that of bicubic under Wald's protocol.

    python -m hpc_sr.bench.baselines SCENE.npz [SCENE.npz ...] [--degradation wald] [--rounds 3]

A scene holds d10 (H, W, 4), d20 (H/2, W/2, 6) and d60 (H/6, W/6, 2), DN. Seconds are those of the 20 m and 60 m bands
brought to 10 m, fits included: the median over rounds after one to warm up. The ratio is of means over bands.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from hpc_sr.bench.pairs import print_result
from hpc_sr.classical.methods import BASELINES, Layers, fit_baseline
from hpc_sr.disk import read_arrays
from hpc_sr.errors import ImageError
from hpc_sr.sentinel2.degrade import degrade, kernel
from hpc_sr.tasks import S2X, S6X, Layer, Task

_SATELLITE = "S2A"


def main() -> None:
    """Print seconds and ratios of every method, task and scene."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", type=Path, nargs="+")
    parser.add_argument("--degradation", default="wald")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found = {}
    for path in options.scenes:
        stacks = read_arrays(path, ("d10", "d20", "d60"), ImageError, "give a scene's .npz")
        bands = {name: values.transpose(2, 0, 1).astype(np.float32) for name, values in stacks.items()}
        found[path.stem] = {"size_10m_px": list(bands["d10"].shape[1:])} | {
            task.name: measure(bands, task, options.degradation, options.rounds) for task in (S2X, S6X)
        }
    print_result("baselines", degradation=options.degradation, rounds=options.rounds, scenes=found)


def measure(bands: dict[str, np.ndarray], task: Task, degradation: str, rounds: int) -> dict[str, dict[str, float]]:
    """Return the seconds of each method on the bands as they are, and its ratio to bicubic on degraded ones."""
    methods = methods_of(task, degradation)
    native = {layer.name: torch.from_numpy(bands[f"d{layer.gsd_m}"]) for layer in task.inputs}
    seconds = {name: _median_s(partial(method, native), rounds) for name, method in methods.items()}
    layers, truth = _pair(bands, task, degradation)
    rmse = {name: _rmse(method(layers), truth) for name, method in methods.items()}
    return {"seconds": seconds, "ratio_to_bicubic": {name: value / rmse["bicubic"] for name, value in rmse.items()}}


def methods_of(task: Task, degradation: str) -> dict[str, Callable[[Layers], torch.Tensor]]:
    """Return the methods by name: each fits to a task's input layers and makes the target bands (C, H, W) of them."""

    def method(name: str) -> Callable[[Layers], torch.Tensor]:
        return lambda layers: fit_baseline(name, task, degradation, _SATELLITE, layers).sharpen(layers)

    return {name: method(name) for name in BASELINES}


def _pair(bands: dict[str, np.ndarray], task: Task, degradation: str) -> tuple[Layers, torch.Tensor]:
    """Return the layers degraded by the task's scale and the target as measured, trimmed to whole coarsest pixels."""
    whole_m = task.scale * max(layer.gsd_m for layer in task.inputs)

    def trimmed(layer: Layer) -> np.ndarray:
        values = bands[f"d{layer.gsd_m}"]
        height, width = (size * layer.gsd_m // whole_m * whole_m // layer.gsd_m for size in values.shape[1:])
        return np.ascontiguousarray(values[:, :height, :width])

    laws = {layer.name: kernel(degradation, task.scale, layer.bands, _SATELLITE) for layer in task.inputs}
    layers = {layer.name: torch.from_numpy(degrade(trimmed(layer), laws[layer.name])) for layer in task.inputs}
    return layers, torch.from_numpy(trimmed(task.target))


def _rmse(estimate: torch.Tensor, truth: torch.Tensor) -> float:
    return float((estimate.double() - truth).square().mean((1, 2)).sqrt().mean())


def _median_s(work: Callable[[], torch.Tensor], rounds: int) -> float:
    seconds = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
