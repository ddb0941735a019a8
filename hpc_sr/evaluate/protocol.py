"""The two Wald protocols, scored window by window, shared out to ranks, merged as sums.

synthesis    all bands are degraded by the task's scale; the estimate is compared with the bands as measured
consistency  the estimate from the native bands is degraded and compared with the coarse bands as measured

Next to the generator, bicubic up-sampling of the same coarse bands is always scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hpc_sr.comm.communicator import Comm
from hpc_sr.data.dataset import Patches
from hpc_sr.evaluate.baselines import bicubic
from hpc_sr.evaluate.metrics import CONTEXT_PX, ImageSums, finish, measure
from hpc_sr.infer.predict import Predictor
from hpc_sr.infer.tile import predict_native
from hpc_sr.infer.windows import Area, read_mirrored, tile_cores
from hpc_sr.models.generator import Generator
from hpc_sr.models.precision import autocast
from hpc_sr.sentinel2.degrade import degrade, kernel, support_px
from hpc_sr.sentinel2.pairs import synthesis_pair
from hpc_sr.sentinel2.safe import BandReader, Product
from hpc_sr.tasks import NETWORK_UNIT, REFLECTANCE_ONE, Layer, Task

#: Target pixels a side that are scored at a time, and patches of a store that are.
_CORE_PX = 384
_PATCHES = 64

#: The scores of a validation.
_VALIDATED = ("rmse", "sre", "sam", "ergas", "psnr", "ssim")

#: Coarse pixels that bicubic interpolation looks at on each side.
_BICUBIC_REACH_PX = 2

Bands = torch.Tensor
#: Returns the estimate (C, h, w) of an area of the target grid, in stored units.
Method = Callable[[Area], Bands]


@dataclass(frozen=True)
class Scene:
    """One image under a protocol: its size, its reference with a mask of what is measured, the methods."""

    name: str
    provenance: dict[str, str]
    height: int
    width: int
    reference: Callable[[Area], tuple[Bands, torch.Tensor]]
    methods: dict[str, Method]
    #: Layers by name that a picture of an area shows besides the methods.
    pictures: Callable[[Area], dict[str, np.ndarray]]


def synthesis_scene(product: Product, degradation: str, predictor: Predictor, name: str) -> Scene:
    """Return a product under the synthesis protocol; `name` is what the generator is called in tables."""
    task = predictor.generator.task
    pair = synthesis_pair(product, task, degradation)
    height, width = pair.shape
    valid = ~pair.unmeasured

    def read(layer: Layer, inside: Area) -> np.ndarray:
        return pair.layers[layer.name][(slice(None), *inside.slices)].astype(np.float32)

    def reference(area: Area) -> tuple[Bands, torch.Tensor]:
        return torch.from_numpy(read(task.target, area)), torch.from_numpy(valid[area.slices])

    def pictures(area: Area) -> dict[str, np.ndarray]:
        return {
            "guide": read(task.inputs[0], area), "truth": read(task.target, area),
            "input": read(task.coarse, area.divided(task.coarse.stride)),
        }  # fmt: skip

    methods = {
        "bicubic": _bicubic_method(lambda area: read(task.coarse, area), task.coarse.stride, height, width),
        name: lambda area: predictor.predict(read, area, height, width),
    }
    return Scene(product.name, product.provenance(), height, width, reference, methods, pictures)


def consistency_scene(
    product: Product, reader: BandReader, degradation: str, predictor: Predictor, name: str
) -> Scene:
    """Return a product under the consistency protocol: the target grid is the coarse bands' own."""
    task = predictor.generator.task
    grid, scale = product.grids[task.target.gsd_m], task.scale
    law = kernel(degradation, scale, task.target.bands, product.satellite)
    beyond_px = -(-support_px(law) // scale)
    target = task.target

    def coarse(area: Area) -> np.ndarray:
        window = (area.row, area.column, area.height, area.width)
        return np.stack([reader.reflectance(band, window)[0] for band in target.bands]) * REFLECTANCE_ONE

    def reference(area: Area) -> tuple[Bands, torch.Tensor]:
        values = coarse(area)
        return torch.from_numpy(np.nan_to_num(values)), torch.from_numpy(np.isfinite(values).all(0))

    def seen_coarse(method: Method) -> Method:
        def degraded(area: Area) -> Bands:
            # Grown only as far as the image goes: there the degradation's own border rule is the whole image's.
            around = area.grown(beyond_px).within(grid.height, grid.width)
            estimate = degrade(method(around.times(scale)).cpu().numpy(), law)
            return torch.from_numpy(estimate[(slice(None), *area.relative_to(around).slices)])

        return degraded

    def pictures(area: Area) -> dict[str, np.ndarray]:
        measured = coarse(area)
        return {"input": measured, "truth": measured}

    fine_bicubic = _bicubic_method(
        lambda area: np.nan_to_num(coarse(area)), scale, grid.height * scale, grid.width * scale
    )
    methods = {
        "bicubic": seen_coarse(fine_bicubic),
        name: seen_coarse(lambda area: predict_native(predictor, reader, area)),
    }
    return Scene(product.name, product.provenance(), grid.height, grid.width, reference, methods, pictures)


def score_scene(scene: Scene, comm: Comm, task: Task) -> dict[str, Any]:
    """Return {method: scores} of a scene. Collective: each rank scores every world_size-th window, the sums merge."""
    bands = task.target.bands
    sums = {name: ImageSums.zero(len(bands)) for name in scene.methods}
    for core in tile_cores(scene.height, scene.width, _CORE_PX)[comm.rank :: comm.world_size]:
        area = core.grown(CONTEXT_PX).within(scene.height, scene.width)
        reference, valid = scene.reference(area)
        for name, method in scene.methods.items():
            estimate = method(area).cpu()
            sums[name] += measure(reference, estimate, valid, core.relative_to(area).slices)
    return _finish(sums, comm, task)


def score_patches(
    patches: Patches, methods: dict[str, Callable[[dict[str, torch.Tensor]], Bands]], comm: Comm, task: Task
) -> dict[str, Any]:
    """Return {method: scores} over all patches of a split or shard taken as one image. Collective.

    A method gets the layers (B, C, H, W) in stored units on the comm's device and returns the target bands.
    """
    sums = {name: ImageSums.zero(len(task.target.bands)) for name in methods}
    for indices in _shares(len(patches), comm):
        layers = {
            name: torch.from_numpy(values).to(comm.device).float() for name, values in patches.take(indices).items()
        }
        for name, method in methods.items():
            sums[name] += measure(layers[task.target.name], method(layers))
    return _finish(sums, comm, task)


def evaluate_patches(
    generator: Generator, patches: Patches, task: Task, comm: Comm, precision: str,
    before: dict[str, float] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Return a validation's total scores, bicubic's as `<name>_bicubic`. Leaves the generator in evaluation mode.

    Bicubic's do not change from one validation to the next: they are taken from the one `before`, if given.
    """
    methods = patch_methods(generator.eval(), task, precision)
    if before is not None:
        del methods["bicubic"]
    scores = score_patches(patches, methods, comm, task)
    ours = {name: scores["generator"]["total"][name] for name in _VALIDATED}
    if before is None:
        return ours | {f"{name}_bicubic": scores["bicubic"]["total"][name] for name in _VALIDATED}
    return before | ours


def patch_methods(
    generator: Generator, task: Task, precision: str, name: str = "generator"
) -> dict[str, Callable[[dict[str, torch.Tensor]], Bands]]:
    """Return the generator and bicubic as methods of `score_patches`."""

    def estimate(layers: dict[str, torch.Tensor]) -> Bands:
        inputs = (layers[layer.name] / NETWORK_UNIT for layer in task.inputs)
        with torch.inference_mode(), autocast(next(generator.parameters()).device, precision):
            return generator(*inputs).float() * NETWORK_UNIT

    return {"bicubic": lambda layers: bicubic(layers[task.coarse.name], task.coarse.stride), name: estimate}


def panel_of(scene: Scene, size_px: int, multiple_px: int) -> dict[str, np.ndarray]:
    """Return the float32 reflectance of the scene's middle for pictures: inputs, truth and each method's estimate."""
    height, width = (min(size_px, size) // multiple_px * multiple_px for size in (scene.height, scene.width))
    row, column = (
        (s - p) // 2 // multiple_px * multiple_px for s, p in ((scene.height, height), (scene.width, width))
    )
    area = Area(row, column, height, width)
    bicubic_name, name = scene.methods
    shown = scene.pictures(area)
    shown |= {
        "bicubic": scene.methods[bicubic_name](area).cpu().numpy(),
        "sr": scene.methods[name](area).cpu().numpy(),
    }
    return {key: (values / REFLECTANCE_ONE).astype(np.float32) for key, values in shown.items()}


def _bicubic_method(read: Callable[[Area], np.ndarray], scale: int, height: int, width: int) -> Method:
    """Return bicubic up-sampling of `read`'s coarse values to an area of a (height, width) grid."""

    def estimate(area: Area) -> Bands:
        around = area.aligned(scale).grown(_BICUBIC_REACH_PX * scale)
        values = read_mirrored(read, around.divided(scale), height // scale, width // scale)
        fine = bicubic(torch.from_numpy(np.ascontiguousarray(values, np.float32))[None], scale)[0]
        return fine[(slice(None), *area.relative_to(around).slices)]

    return estimate


def _shares(count: int, comm: Comm) -> Iterator[np.ndarray]:
    mine = np.arange(count)[comm.rank :: comm.world_size]
    return (mine[start : start + _PATCHES] for start in range(0, len(mine), _PATCHES))


def _finish(sums: dict[str, ImageSums], comm: Comm, task: Task) -> dict[str, Any]:
    bands = task.target.bands
    merged = comm.sum(np.stack([part.vector() for part in sums.values()]))
    brightest = max(comm.gather(max(part.brightest for part in sums.values())))  # one reference for all methods
    return {
        name: finish(ImageSums.from_vector(vector, len(bands), brightest), bands, task.scale)
        for name, vector in zip(sums, merged, strict=True)
    }
