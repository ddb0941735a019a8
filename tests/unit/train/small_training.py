"""A small network, batches of noise for it, and steps on it."""

from __future__ import annotations

import torch
from torch.amp import GradScaler

from hpc_sr.data.loader import Batch
from hpc_sr.losses.content import l1
from hpc_sr.models.build import build_generator
from hpc_sr.models.generator import Generator
from hpc_sr.models.options import ModelOptions
from hpc_sr.tasks import S2X
from hpc_sr.train.optimizers import build_optimizer
from hpc_sr.train.options import OptimizerOptions
from hpc_sr.train.step import ContentStep

PATCH_PX = 8
CPU = torch.device("cpu")


def small_generator(seed: int = 0) -> Generator:
    torch.manual_seed(seed)
    return build_generator(ModelOptions(family="s2x", width=16, blocks=1), S2X, PATCH_PX)


def noise_batch(size: int, seed: int = 0) -> Batch:
    noise = torch.Generator().manual_seed(seed)
    layers = {
        layer.name: torch.randint(0, 8000, (size, *S2X.shape(layer, PATCH_PX)), generator=noise, dtype=torch.int16)
        for layer in S2X.layers
    }
    codes = torch.randint(0, 8, (size,), generator=noise)
    return Batch(layers, torch.arange(size), codes, torch.arange(size), samples=size)


def make_step(optimizer: str = "adam", precision: str = "fp32", **more) -> ContentStep:
    """Return a step on a small generator of its own, with any options of ContentStep."""
    generator = small_generator()
    made = build_optimizer(generator.parameters(), OptimizerOptions(name=optimizer, base_lr=1e-3))
    scaler = GradScaler("cpu", enabled=precision == "fp16", init_scale=1024.0)
    return ContentStep(generator, made, scaler, l1, S2X, CPU, precision, **{"augment": True, **more})
