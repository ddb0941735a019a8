"""The choice between generators."""

from __future__ import annotations

from torch import nn

from hpc_sr.models.dsen2 import DSen2
from hpc_sr.models.generator import Generator
from hpc_sr.models.options import ModelOptions
from hpc_sr.models.s2x import S2x
from hpc_sr.tasks import Task


def build_generator(
    options: ModelOptions, task: Task, patch_px: int, means: dict[str, list[float]] | None = None
) -> Generator:
    """Return the generator that the options describe, freshly initialised from torch's global seed.

    `means` are the training set's band means by layer in network units (zero if not given: weights will be loaded).
    """
    if options.family == "dsen2":
        return DSen2(task, options)
    return S2x(task, options, patch_px, means)


def count_parameters(module: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
