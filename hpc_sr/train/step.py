"""One optimizer update."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.optim import Optimizer

from hpc_sr.data.augment import dihedral
from hpc_sr.data.loader import Batch
from hpc_sr.models.precision import autocast
from hpc_sr.tasks import NETWORK_UNIT, Task

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class ContentStep:
    """Forward, backward, update. `forward` and `optimizer` are what `Comm.distribute` returned."""

    forward: Callable[..., torch.Tensor]
    optimizer: Optimizer
    loss: Loss
    task: Task
    device: torch.device
    precision: str
    augment: bool

    def __call__(self, batch: Batch) -> torch.Tensor:
        """Return the batch's loss, a tensor on the device: reading it waits for the step, so read it seldom."""
        layers = self.on_device(batch)
        with autocast(self.device, self.precision):
            estimate = self.forward(*(layers[layer.name] for layer in self.task.inputs))
        loss = self.loss(estimate.float(), layers[self.task.target.name])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def on_device(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return the batch's layers in network units on the device, each sample turned by its code."""
        layers = {name: values.to(self.device, non_blocking=True) for name, values in batch.layers.items()}
        if self.augment:
            codes = batch.codes.to(self.device, non_blocking=True)
            layers = {name: dihedral(values, codes) for name, values in layers.items()}
        return {name: network_units(values) for name, values in layers.items()}


def network_units(stored: torch.Tensor) -> torch.Tensor:
    """Return stored values (reflectance x 10 000) as float32 network units."""
    return stored.float() * (1.0 / NETWORK_UNIT)
