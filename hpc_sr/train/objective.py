"""What training is for: the networks that learn (players), an update of all of them, how a checkpoint is chosen.

A way of training is an Objective. `Content` is a generator alone, compared with the reference; `Adversarial`, in a
file of its own, adds critics, `Enlightened` overlapping crops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from hpc_sr.data.loader import Batch
from hpc_sr.losses.content import mse
from hpc_sr.models.generator import Outputs
from hpc_sr.models.gradients import gradient_map
from hpc_sr.models.precision import autocast
from hpc_sr.tasks import Task
from hpc_sr.train.player import Player, Terms, Update

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Objective(Protocol):
    """`players` are the networks that learn, the generator first. `best_by` is the validation score that chooses the
    checkpoint to use, None for the newest."""

    @property
    def players(self) -> tuple[Player, ...]: ...

    @property
    def best_by(self) -> str | None: ...

    def __call__(self, batch: Batch) -> Update:
        """Update every player once, on layers in network units on the device."""


@dataclass(frozen=True)
class Content:
    """The generator alone: the weighted mean distance of its targets from the reference, in `parts` portions.

    `gradients` adds that many times how differently steep all targets together are, `perceptual` how differently a
    trained network sees them, the latter not in the first `alone_samples`. A `noisy` generator takes draws. `seen` is
    the extra that other networks look at, all targets if there is none.
    """

    player: Player
    loss: Loss
    weights: Mapping[str, float]
    task: Task
    precision: str
    parts: int
    best_by: str | None
    perceptual: Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor]], torch.Tensor] | None = None
    gradients: float | None = None
    alone_samples: int = 0
    noisy: bool = False
    seen: str | None = None

    @property
    def players(self) -> tuple[Player, ...]:
        return (self.player,)

    def __call__(self, batch: Batch) -> Update:
        return self.player.descend(batch.split(self.parts), self.terms)

    def is_alone(self, batch: Batch) -> bool:
        """Return whether a batch is of the samples that are compared without any other network."""
        return batch.samples <= self.alone_samples

    def terms(self, batch: Batch) -> Terms:
        """Return the losses by name."""
        return self.compared(self.outputs(batch), batch)

    def outputs(self, batch: Batch) -> Outputs:
        """Return what the generator makes of a batch, float32, ready for a gradient of it."""
        return self.made_by(self.player.forward, batch)

    def made_by(self, forward: Callable[..., Outputs], batch: Batch) -> Outputs:
        """Return what the generator's forward pass, distributed or not, makes of a batch, float32."""
        inputs = [batch.layers[layer.name] for layer in self.task.inputs]
        drawn = {"draws": batch.draws} if self.noisy else {}
        with autocast(inputs[0].device, self.precision):
            targets, extras = forward(*inputs, **drawn)
        return Outputs(tuple(target.float() for target in targets), {name: x.float() for name, x in extras.items()})

    def compared(self, outputs: Outputs, batch: Batch) -> dict[str, torch.Tensor]:
        """Return the loss of each target by its name, of their `gradients`, and the `perceptual` one."""
        estimates = outputs.targets
        references = [batch.layers[target.name] for target in self.task.targets]
        losses = {
            target.name: self.weights.get(target.name, 1.0) * self.loss(estimate, reference)
            for target, estimate, reference in zip(self.task.targets, estimates, references, strict=True)
        }
        if self.gradients is not None:
            fake, real = (gradient_map(torch.cat(list(images), 1)) for images in (estimates, references))
            losses["gradients"] = self.gradients * mse(fake, real)
        if self.perceptual is not None and not self.is_alone(batch):
            losses["perceptual"] = self.perceptual(self.shown(outputs), references)
        return losses

    def shown(self, outputs: Outputs) -> tuple[torch.Tensor, ...]:
        """Return what other networks look at, beside all references."""
        return outputs.targets if self.seen is None else (outputs.extras[self.seen],)
