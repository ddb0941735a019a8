"""Adversarial training: a generator against a critic, in turns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from hpc_sr.data.loader import Batch
from hpc_sr.losses.adversarial import AdversarialLoss, gradient_penalty
from hpc_sr.models.draws import uniform
from hpc_sr.models.precision import autocast
from hpc_sr.train.objective import Content
from hpc_sr.train.player import Player, Terms, Update


@dataclass(frozen=True)
class Adversarial:
    """The generator's `content` and `weight` x what a critic says of all its targets together.

    A batch is `steps` updates of the critic, each on its part, then one of the generator on the whole. The weight
    rises linearly over the first `warmup_samples`. `penalty` weighs the gradient penalty; after each update the
    critic's weights are clipped to +-`bound`, if there is one.
    """

    content: Content
    critic: Player
    loss: AdversarialLoss
    weight: float
    warmup_samples: int
    steps: int
    penalty: float
    bound: float | None

    @property
    def players(self) -> tuple[Player, ...]:
        return (self.content.player, self.critic)

    @property
    def best_by(self) -> str | None:
        return self.content.best_by

    def __call__(self, batch: Batch) -> Update:
        """Update critic and generator. The critic's terms carry its name; of several updates they are the mean."""
        ordered = batch.in_stream_order()
        judged = [self._criticise(part) for part in ordered.split(self.steps)]
        generated = self.content.player.descend(ordered.split(self.content.parts), self.terms)
        told = {
            f"{self.critic.name}_{name}": torch.stack([update.terms[name] for update in judged]).mean()
            for name in judged[0].terms
        }
        finite = torch.stack([update.finite for update in (*judged, generated)]).all()
        return Update({**generated.terms, **told}, finite)

    def _criticise(self, batch: Batch) -> Update:
        update = self.critic.descend(batch.split(self.content.parts), self.judgement)
        if self.bound is not None:
            clip_weights(self.critic.network, self.bound)
        return update

    def judgement(self, batch: Batch) -> Terms:
        """Return the critic's losses, and its mean scores of references and estimates."""
        real, fake = self._references(batch), self._imitations(batch)
        with autocast(real.device, self.content.precision):
            scores = [self.critic.forward(images).float() for images in (real, fake)]
        means = {f"score_{name}": score.detach().mean() for name, score in zip(("real", "fake"), scores, strict=True)}
        losses = {"adversarial": self.loss.critic(*scores)}
        if self.penalty:
            shares = uniform(batch.draws, 1, 1, 1)
            losses["penalty"] = self.penalty * gradient_penalty(self.critic.forward, real, fake, shares)
        return {**losses, **means}

    def terms(self, batch: Batch) -> Terms:
        """Return the generator's losses: those of its content, and what the critic says."""
        estimates = self.content.estimates(batch)
        with self.critic.frozen() as critic, autocast(estimates[0].device, self.content.precision):
            fake = critic(torch.cat(estimates, 1)).float()
            with torch.no_grad():
                real = critic(self._references(batch)).float() if self.loss.compares else fake
        said = self._weight_at(batch.samples) * self.loss.generator(real, fake)
        return {**self.content.compared(estimates, batch), "adversarial": said}

    def _weight_at(self, samples: int) -> float:
        return self.weight * min(1.0, samples / self.warmup_samples) if self.warmup_samples else self.weight

    def _references(self, batch: Batch) -> torch.Tensor:
        return torch.cat([batch.layers[target.name] for target in self.content.task.targets], 1)

    @torch.no_grad()
    def _imitations(self, batch: Batch) -> torch.Tensor:
        """Return what the generator itself makes of a batch, for a critic to look at."""
        return torch.cat(self.content.made_by(self.content.player.network, batch), 1)


@torch.no_grad()
def clip_weights(network: nn.Module, bound: float) -> None:
    """Bring every weight into [-bound, bound]."""
    for parameter in network.parameters():
        parameter.clamp_(-bound, bound)
