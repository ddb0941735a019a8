"""What tests of classical methods share: real and made-up scenes, their scores, and windows against the whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from hpc_sr.classical.interpolation import bicubic
from hpc_sr.infer.windows import tile_cores
from hpc_sr.sentinel2.degrade import Kernel, degrade, kernel
from hpc_sr.tasks import Layer, Task

SCENES = ("l1c_malmo_T33UUB", "l1c_iceland", "l1c_usa", "l1c_australia")


def wald_pair(shared_data: Path, scene: str, task: Task, degradation: str = "wald") -> dict[str, torch.Tensor]:
    """Return a scene's layers by name, (C, H, W) float64 DN, trimmed to whole coarsest pixels and degraded."""
    bands = np.load(shared_data / "scenes" / f"{scene}.npz")
    whole_m = 10 * task.scale * max(layer.gsd_m for layer in task.inputs) // 10
    side_m = bands["d10"].shape[0] * 10 // whole_m * whole_m

    def native(layer: Layer) -> np.ndarray:
        side_px = side_m // layer.gsd_m
        return bands[f"d{layer.gsd_m}"][:side_px, :side_px].transpose(2, 0, 1).astype(np.float64)

    made = {x.name: degrade(native(x), law_of(x, task.scale, degradation)) for x in task.inputs}
    return {name: torch.from_numpy(values) for name, values in (made | {"target": native(task.target)}).items()}


def law_of(layer: Layer, scale: int, degradation: str = "wald") -> Kernel:
    return kernel(degradation, scale, layer.bands, "S2A")


def ratio_to_bicubic(estimate: torch.Tensor, pair: dict[str, torch.Tensor], task: Task) -> float:
    """Return the mean of the bands' RMSE over that of bicubic interpolation."""
    return rmse(estimate, pair["target"]) / rmse(
        bicubic(pair[task.target.coarse.name][None], task.scale)[0], pair["target"]
    )


def rmse(estimate: torch.Tensor, reference: torch.Tensor) -> float:
    return float(((estimate - reference) ** 2).mean((1, 2)).sqrt().mean())


def smooth_noise(bands: int, height: int, width: int, seed: int) -> torch.Tensor:
    """Return bands that vary over several pixels and within one, DN."""
    rng = np.random.default_rng(seed)
    broad = bicubic(torch.from_numpy(rng.uniform(500, 4000, (1, bands, height // 6, width // 6))), 6)[0]
    return broad + torch.from_numpy(rng.normal(0, 200, (bands, height, width)))


def worst_of_windows(
    sharpen: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    coarse_CHW: torch.Tensor,
    guides_KHW: torch.Tensor,
    scale: int,
    around_px: int,
) -> float:
    """Return the largest difference of windows that bring `around_px`, as far as the image goes, from the whole."""
    whole, worst = sharpen(coarse_CHW, guides_KHW), 0.0
    height, width = whole.shape[1:]
    for core in tile_cores(height, width, 20 * scale):
        around = core.grown(around_px).within(height, width)
        coarse = coarse_CHW[(slice(None), *around.divided(scale).slices)]
        part = sharpen(coarse, guides_KHW[(slice(None), *around.slices)])
        kept = part[(slice(None), *core.relative_to(around).slices)]
        worst = max(worst, float((kept - whole[(slice(None), *core.slices)]).abs().max()))
    return worst
