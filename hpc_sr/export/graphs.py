"""A generator as a graph that runs without this package: captured by torch.export, with free sizes.

The graph takes and returns stored units, reflectance x 10 000 or grey levels: the conversion is in it, so that nobody
has to know the network's own. B batch, C channels, H and W pixels.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from hpc_sr.errors import NotExpressibleError
from hpc_sr.models.generator import Generator

#: Values of the task's input layers in order, (B, C, H / stride, W / stride), stored units, float32.
Inputs = tuple[torch.Tensor, ...]
#: Returns the targets (B, C, H, W) in the task's order, in the same units.
Run = Callable[[Inputs], tuple[torch.Tensor, ...]]

# One window of attention is another path through the network than several.
_LEAST_MULTIPLES = 2


def least_multiples(generator: Generator) -> int:
    """Return how many multiples of what the network asks for a side of a graph's map has at least."""
    return max(_LEAST_MULTIPLES, -(-generator.least_px // generator.multiple_px))


class StoredUnits(nn.Module):
    """A generator as a plain module from stored units to stored units: one target as a tensor, several as a tuple."""

    def __init__(self, generator: Generator):
        super().__init__()
        self.generator = generator

    def forward(self, *inputs_BCHW: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        targets = self.generator.estimate(*inputs_BCHW)
        return targets[0] if len(targets) == 1 else targets


def as_tuple(estimate: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Return the targets of a graph's estimate."""
    return (estimate,) if isinstance(estimate, torch.Tensor) else tuple(estimate)


def capture(generator: Generator) -> ExportedProgram:
    """Return the graph of `StoredUnits(generator)` for any batch and any sides of `least_multiples` or more.

    Traces of the machine that it was captured on (source paths) are taken out.
    Raises NotExpressibleError if torch.export cannot capture the network.
    """
    least = least_multiples(generator)
    batch, rows, columns = Dim("batch", min=1), Dim("rows", min=least), Dim("columns", min=least)
    sizes = []
    for layer in generator.task.inputs:
        unit = generator.multiple_px // layer.stride
        sizes.append({0: batch, 2: unit * rows if unit > 1 else rows, 3: unit * columns if unit > 1 else columns})
    unit_px = generator.multiple_px
    # Neither 1, which would be taken for a constant, nor equal, which would be taken for a law.
    inputs = like_measured(generator, batch=2, rows_px=(least + 1) * unit_px, columns_px=2 * least * unit_px)
    try:
        program = torch.export.export(StoredUnits(generator).eval(), inputs, dynamic_shapes=(tuple(sizes),))
    except Exception as error:  # whatever a pass of the compiler stumbles over
        raise NotExpressibleError(
            f"torch.export cannot capture the network ({first_line(error)})",
            cure="export it as safetensors, or with a newer torch: 2.13 captures all networks of ours",
        ) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def write_graph(path: Path, program: ExportedProgram, card_json: str) -> None:
    """Write the graph and its weights as a torch.export file, the card inside it as card.json."""
    # By way of memory: torch's own writer ends the whole process where the disk is full.
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={"card.json": card_json})
    path.write_bytes(buffer.getvalue())


def open_graph(path: Path) -> Run:
    """Return the network in a torch.export file."""
    module = torch.export.load(path).module()
    return lambda inputs: as_tuple(module(*inputs))


def like_measured(generator: Generator, batch: int, rows_px: int, columns_px: int, seed: int = 0) -> Inputs:
    """Return inputs like those of scenes, the same for the same seed: every layer shows one ground on its own grid.

    Fields, edges, detail, a cloud and a shadow that the atmospheric correction took below zero.
    """
    noise = torch.Generator().manual_seed(seed)
    fields = torch.rand(batch, 1, rows_px // 8 + 1, columns_px // 8 + 1, generator=noise)
    ground = nn.functional.interpolate(fields, (rows_px, columns_px), mode="nearest") ** 2
    ground = ground + 0.03 * torch.randn(batch, 1, rows_px, columns_px, generator=noise)
    inputs = []
    for layer in generator.task.inputs:
        bright = torch.rand(1, len(layer.bands), 1, 1, generator=noise)
        scene = 300.0 + 4000.0 * bright * ground
        scene[..., : rows_px // 6, : columns_px // 6] = 12_000.0
        scene[..., -rows_px // 6 :, -columns_px // 6 :] = -150.0
        inputs.append(nn.functional.avg_pool2d(scene, layer.stride))
    return tuple(inputs)


def first_line(error: Exception) -> str:
    """Return what an error says in its first line, or its kind if it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
