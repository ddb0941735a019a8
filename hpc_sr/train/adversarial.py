"""Adversarial training: a generator against critics, in turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from hpc_sr.data.loader import Batch
from hpc_sr.losses.adversarial import AdversarialLoss, gradient_penalty
from hpc_sr.models.draws import uniform
from hpc_sr.models.precision import autocast
from hpc_sr.train.objective import Content
from hpc_sr.train.player import Player, Terms, Update


def _images(images_BCHW: torch.Tensor) -> torch.Tensor:
    return images_BCHW


@dataclass(frozen=True)
class Judge:
    """A critic that learns: what its word is called among the generator's terms, what it counts, what it `sees`."""

    player: Player
    term: str
    weight: float
    sees: Callable[[torch.Tensor], torch.Tensor] = _images


class Exhibit(NamedTuple):
    """What critics look at: references, estimates, and what the samples' random numbers are made of."""

    real: torch.Tensor
    fake: torch.Tensor
    draws: torch.Tensor


@dataclass(frozen=True)
class Adversarial:
    """The generator's `content`, and what each judge says of all its targets together, or of what it shows instead.

    A batch is `steps` updates of the critics, each on its part, then one of the generator on the whole. The judges'
    weights rise linearly over the `warmup_samples` that follow those of content alone. `penalty` weighs the gradient
    penalty; after each update a critic's weights are clipped to +-`bound`, if there is one.
    """

    content: Content
    judges: tuple[Judge, ...]
    loss: AdversarialLoss
    warmup_samples: int
    steps: int
    penalty: float
    bound: float | None

    @property
    def players(self) -> tuple[Player, ...]:
        return (self.content.player, *(judge.player for judge in self.judges))

    @property
    def best_by(self) -> str | None:
        return self.content.best_by

    def __call__(self, batch: Batch) -> Update:
        """Update critics and generator. A critic's terms carry its name; of several updates they are the mean."""
        if self.content.is_alone(batch):
            return self.content(batch)
        ordered = batch.in_stream_order()
        judged = [self._criticise(part) for part in ordered.split(self.steps)]
        generated = self.content.player.descend(ordered.split(self.content.parts), self.terms)
        told = {
            f"{judge.player.name}_{name}": torch.stack([update.terms[name] for update in updates]).mean()
            for judge, *updates in zip(self.judges, *judged, strict=True)
            for name in updates[0].terms
        }
        finite = torch.stack([update.finite for updates in (*judged, (generated,)) for update in updates]).all()
        return Update({**generated.terms, **told}, finite)

    def _criticise(self, batch: Batch) -> list[Update]:
        """Update every critic by the batch's estimates as they are now."""
        exhibits = [self.exhibit(part) for part in batch.split(self.content.parts)]
        updates = [judge.player.descend(exhibits, partial(self.judgement, judge)) for judge in self.judges]
        if self.bound is not None:
            for judge in self.judges:
                clip_weights(judge.player.network, self.bound)
        return updates

    def judgement(self, judge: Judge, exhibit: Exhibit) -> Terms:
        """Return a critic's losses, and its mean scores of references and estimates."""
        real, fake = judge.sees(exhibit.real), judge.sees(exhibit.fake)
        with autocast(real.device, self.content.precision):
            scores = [judge.player.forward(images).float() for images in (real, fake)]
        means = {f"score_{name}": score.detach().mean() for name, score in zip(("real", "fake"), scores, strict=True)}
        losses = {"adversarial": self.loss.critic(*scores)}
        if self.penalty:
            shares = uniform(exhibit.draws, 1, 1, 1)
            losses["penalty"] = self.penalty * gradient_penalty(judge.player.forward, real, fake, shares)
        return {**losses, **means}

    def terms(self, batch: Batch) -> Terms:
        """Return the generator's losses: those of its content, and what the critics say."""
        outputs = self.content.outputs(batch)
        shown = torch.cat(self.content.shown(outputs), 1)
        said = {judge.term: self._said(judge, shown, batch) for judge in self.judges}
        return {**self.content.compared(outputs, batch), **said}

    def _said(self, judge: Judge, estimates_BCHW: torch.Tensor, batch: Batch) -> torch.Tensor:
        seen = judge.sees(estimates_BCHW)
        with judge.player.frozen() as critic, autocast(seen.device, self.content.precision):
            fake = critic(seen).float()
            with torch.no_grad():
                real = critic(judge.sees(self._references(batch))).float() if self.loss.compares else fake
        return judge.weight * self._share_at(batch.samples) * self.loss.generator(real, fake)

    def _share_at(self, samples: int) -> float:
        since = samples - self.content.alone_samples
        return min(1.0, since / self.warmup_samples) if self.warmup_samples else 1.0

    def _references(self, batch: Batch) -> torch.Tensor:
        return torch.cat([batch.layers[target.name] for target in self.content.task.targets], 1)

    @torch.no_grad()
    def exhibit(self, batch: Batch) -> Exhibit:
        """Return a batch's references beside what the generator itself makes of its inputs."""
        outputs = self.content.made_by(self.content.player.network, batch)
        return Exhibit(self._references(batch), torch.cat(self.content.shown(outputs), 1), batch.draws)


@torch.no_grad()
def clip_weights(network: nn.Module, bound: float) -> None:
    """Bring every weight into [-bound, bound]."""
    for parameter in network.parameters():
        parameter.clamp_(-bound, bound)
