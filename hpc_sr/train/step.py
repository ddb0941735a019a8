"""One optimizer update."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from hpc_sr.data.augment import dihedral
from hpc_sr.data.loader import Batch
from hpc_sr.models.precision import autocast
from hpc_sr.tasks import NETWORK_UNIT, Task
from hpc_sr.train.optimizers import step_if

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Update:
    """What one update was, as scalars on the device: reading one waits for the step, so they are read seldom.

    `loss` is this rank's; `gradient_norm` is that of all ranks' mean gradient, before clipping; without `finite` the
    update was left out.
    """

    loss: torch.Tensor
    gradient_norm: torch.Tensor
    finite: torch.Tensor


@dataclass(frozen=True)
class ContentStep:
    """Forward, backward, update. `forward` and `optimizer` are what `Comm.distribute` returned.

    `local_gradients` is the Comm's. Every rank sees the same mean gradient, so all of them update or none.
    """

    forward: Callable[..., torch.Tensor]
    optimizer: Optimizer
    scaler: GradScaler
    loss: Loss
    task: Task
    device: torch.device
    precision: str
    augment: bool
    accumulation_steps: int = 1
    clip_norm: float | None = None
    local_gradients: Callable[[Callable[..., torch.Tensor]], AbstractContextManager] = lambda forward: nullcontext()

    def __call__(self, batch: Batch) -> Update:
        """Return what became of the update; nothing in here waits for the device."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._accumulate(batch)
        self.scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.clip_norm or float("inf"))
        finite = norm.isfinite()
        step_if(self.optimizer, finite)
        self.scaler.update()
        return Update(loss, norm, finite)

    def _accumulate(self, batch: Batch) -> torch.Tensor:
        """Leave the gradient of the whole batch in the parameters, exchanged once, and return its loss."""
        layers, parts = self.on_device(batch), self.accumulation_steps
        split = {name: values.chunk(parts) for name, values in layers.items()}
        total = torch.zeros((), device=self.device)
        for part in range(parts):
            last = part == parts - 1
            with nullcontext() if last else self.local_gradients(self.forward):
                with autocast(self.device, self.precision):
                    estimate = self.forward(*(split[layer.name][part] for layer in self.task.inputs))
                loss = self.loss(estimate.float(), split[self.task.target.name][part]) / parts
                self.scaler.scale(loss).backward()
            total += loss.detach()
        return total

    def on_device(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return the batch's layers in network units on the device, each sample turned by its code."""
        batch = batch.to(self.device)
        layers = batch.layers
        if self.augment:
            layers = {name: dihedral(values, batch.codes) for name, values in layers.items()}
        return {name: network_units(values) for name, values in layers.items()}


def network_units(stored: torch.Tensor) -> torch.Tensor:
    """Return stored values (reflectance x 10 000) as float32 network units."""
    return stored.float() * (1.0 / NETWORK_UNIT)
