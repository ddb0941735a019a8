"""Narrow networks of random weights, with the cards that they would have if they had been trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import pytest
import torch

from hpc_sr.models.attention import NonLocal
from hpc_sr.models.blocks import SelfAttention
from hpc_sr.models.build import build_generator, count_parameters
from hpc_sr.models.facts import Facts
from hpc_sr.models.generator import Generator
from hpc_sr.models.options import ModelOptions, parse_model
from hpc_sr.tasks import REFLECTANCE, Task, Units
from hpc_sr.weights.card import Card
from hpc_sr.weights.folder import save_generator
from hpc_sr.weights.trained import Trained

ModuleT = TypeVar("ModuleT", bound=torch.nn.Module)

#: For tests of graphs of any size: older torch captures only some networks (constraints-oldest.txt).
captures_graphs = pytest.mark.skipif(torch.__version__ < (2, 13), reason="this torch captures no graph of it")


def narrow(family: str = "s2x", **options: object) -> ModelOptions:
    """Return a family's options, 16 channels and one block unless told otherwise."""
    return parse_model({"family": family, "width": 16, "blocks": 1, **options}, "a test")


def network(options: ModelOptions, task: Task, facts: Facts | int, seed: int = 0) -> Generator:
    """Return a network in evaluation mode, whose attention matters if it has one; `facts` may be a patch size."""
    torch.manual_seed(seed)
    generator = build_generator(options, task, Facts(facts) if isinstance(facts, int) else facts)
    return attending(generator).eval()


def attending(module: ModuleT) -> ModuleT:
    """Return a network or a part of one in which attention matters that begins at nothing."""
    for part in module.modules():
        if isinstance(part, SelfAttention):
            torch.nn.init.constant_(part.gamma, 0.7)
        elif isinstance(part, NonLocal):
            part.out.reset_parameters()
    return module


def trained(
    task: Task,
    patch_px: int,
    options: ModelOptions | None = None,
    *,
    units: str = REFLECTANCE,
    means: Mapping[str, tuple[float, ...]] | None = None,
    degradation: str = "wald",
    level: str = "L1C",
    seed: int = 0,
    where: str = "run",
) -> Trained:
    """Return a network of step 7 with its card; dsen2 for pictures and s2x for products unless told otherwise."""
    options = options or narrow("dsen2" if task.of_images else "s2x")
    generator = network(options, task, Facts(patch_px, Units.of(units), means or {}), seed)
    return as_trained(generator, options, degradation=degradation, level=level, where=where)


def as_trained(
    generator: Generator, options: ModelOptions, *, degradation: str = "wald", level: str = "L1C", where: str = "run"
) -> Trained:
    """Return a network with the card that says so."""
    parameters = count_parameters(generator)
    card = Card(generator.task.name, options, generator.facts, degradation, level, parameters, step=7, samples=112)
    return Trained(generator, card, where)


def saved(folder: Path, made: Trained) -> Path:
    """Write a checkpoint folder as training does, but for what only training needs, and return it."""
    folder.mkdir(parents=True)
    save_generator(folder, made.generator, made.card)
    return folder
