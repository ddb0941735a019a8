"""Optimizers in their fused form, and updates that leave out gradients that are not finite."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, NAdam, Optimizer

from hpc_sr.train.options import OptimizerOptions


def build_optimizer(parameters: Iterable[nn.Parameter], options: OptimizerOptions) -> Optimizer:
    """Return the optimizer that the options describe; `fused` where torch has it: one kernel for all parameters."""
    common: dict[str, Any] = {"lr": options.base_lr, "weight_decay": options.weight_decay}
    if options.name == "sgd":
        return SGD(parameters, momentum=options.momentum, nesterov=options.momentum > 0, fused=True, **common)
    moments: dict[str, Any] = {"betas": options.betas, "eps": options.eps}
    if options.name == "nadam":
        return NAdam(parameters, **moments, **common)
    kind = {"adam": Adam, "adamw": AdamW}[options.name]
    return kind(parameters, fused=True, **moments, **common)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Give every parameter group this rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def step_if(optimizer: Optimizer, finite: torch.Tensor) -> None:
    """Update the parameters, or leave them and the optimizer's state as they are if `finite` is false.

    `finite` is a scalar on the device. A fused optimizer looks at it there; for others the host waits for it.
    """
    if not optimizer.param_groups[0].get("fused"):
        if finite:
            optimizer.step()
        return
    fused: Any = optimizer  # torch declares no such attribute
    fused.found_inf = (~finite).float()
    try:
        optimizer.step()
    finally:
        # Only for this step: Adasum's hooks step in the next backward pass.
        del fused.found_inf
