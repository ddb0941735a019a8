"""How many floating-point operations a training step has, and how many a second known GPUs can do."""

from __future__ import annotations

import copy

import torch
from torch.utils.flop_counter import FlopCounterMode

from hpc_sr.models.build import build_generator
from hpc_sr.models.facts import Facts
from hpc_sr.models.generator import Generator
from hpc_sr.models.options import ModelOptions
from hpc_sr.tasks import Task

#: Dense half-precision operations per second, from the makers' data sheets; the first name that fits counts.
#: An MI250X shows itself as two devices.
_PEAKS = {
    "GH200": 989e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "V100": 125e12,
    "MI250X": 191.5e12,
}


def flops_per_sample(model: ModelOptions, task: Task, patch_px: int) -> int:
    """Return the operations of forward and backward for one patch, a multiply-add as two.

    Counted on tensors without storage. Products with the zeros that attention is padded with are among them.
    """
    with torch.device("meta"):
        generator = build_generator(model, task, Facts(patch_px))
        inputs = [torch.empty(1, *task.shape(layer, patch_px)) for layer in task.inputs]
        with FlopCounterMode(display=False) as counter:
            sum(target.sum() for target in generator(*inputs).targets).backward()
    return counter.get_total_flops()


def multiply_adds_per_px(generator: Generator) -> float:
    """Return the multiply-adds of a forward pass for a target pixel, counted on a patch without storage.

    A network whose work depends on the size of its picture, other than in proportion, is counted at that of a patch.
    """
    task, patch_px = generator.task, generator.facts.patch_px
    bare = copy.deepcopy(generator).to("meta")
    inputs = [torch.empty(1, *task.shape(layer, patch_px), device="meta") for layer in task.inputs]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        bare(*inputs)
    return counter.get_total_flops() / 2 / patch_px**2


def peak_flops(device_name: str | None, precision: str) -> float | None:
    """Return the operations per second that a GPU of this name can do in this precision, or None if not known.

    V100 has no bf16. What fp32 means depends on whether products are rounded to TF32, so it has no peak here.
    """
    if device_name is None or precision not in ("bf16", "fp16"):
        return None
    found = next((name for name in _PEAKS if name in device_name), None)
    return None if found is None or (found, precision) == ("V100", "bf16") else _PEAKS[found]
