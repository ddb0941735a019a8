"""What a run is at a step: networks, optimizers, and a clock that counts steps and samples.

All that a checkpoint must hold is listed once, in `TrainState.parts`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hpc_sr.models.generator import Generator
from hpc_sr.train.player import Player
from hpc_sr.train.schedule import Schedule
from hpc_sr.weights.folder import is_better


class Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


@dataclass
class Clock:
    """Where a run is: optimizer steps, and the loader's position in the stream of samples.

    `best` is the best validation score so far and `score` that of this step, None where it was not validated, both by
    `best_by`. `reductions` counts how often a plateau has lowered the learning rate, `waiting_since` is the stream
    position of the last improvement or reduction.
    """

    step: int = 0
    samples: int = 0
    best_by: str | None = None
    best: float | None = None
    score: float | None = None
    reductions: int = 0
    waiting_since: int = 0

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def advance(self, samples: int) -> None:
        """Count a step that ends at stream position `samples`."""
        self.step, self.samples, self.score = self.step + 1, samples, None

    def improves(self, scores: dict[str, float], patience_samples: int | None) -> bool:
        """Return whether a validation's score is the best so far, and remember what follows from it."""
        if self.best_by is None:
            return False
        self.score = scores[self.best_by]
        better = self.score is not None and (self.best is None or is_better(self.best_by, self.score, self.best))
        if better:
            self.best, self.waiting_since = self.score, self.samples
        elif patience_samples is not None and self.samples - self.waiting_since >= patience_samples:
            self.reductions, self.waiting_since = self.reductions + 1, self.samples
        return better


@dataclass
class TrainState:
    """The players, the generator first, the running mean of its weights, and the clock."""

    players: Sequence[Player]
    average: AveragedModel | None = None
    clock: Clock = field(default_factory=Clock)

    @property
    def generator(self) -> Generator:
        """The generator that learns."""
        network = self.players[0].network
        assert isinstance(network, Generator)
        return network

    @property
    def used(self) -> Generator:
        """The generator that is validated and kept for use."""
        if self.average is None:
            return self.generator
        assert isinstance(self.average.module, Generator)
        return self.average.module

    def parts(self) -> dict[str, Stateful]:
        """Return all that must survive by name: what is not listed is a function of these and the recipe.

        The ranks' random number generators are saved beside.
        """
        found: dict[str, Stateful] = {}
        for player in self.players:
            found[player.name] = player.network
            found[f"{player.name}.optimizer"] = player.optimizer
            found[f"{player.name}.scaler"] = player.scaler
        if self.average is not None:
            found["average"] = self.average
        found["clock"] = self.clock
        return found

    def advance(self, samples: int) -> None:
        """Count an update that ends at stream position `samples`, and average the weights it left."""
        self.clock.advance(samples)
        if self.average is not None:
            self.average.update_parameters(self.generator)


def averaged(generator: Generator, schedule: Schedule, memory_samples: int | None) -> AveragedModel | None:
    """Return the running mean of the weights that forgets over so many samples, on any number of ranks."""
    if memory_samples is None:
        return None
    decay = math.exp(-schedule.global_batch_size / memory_samples)
    return AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(decay))
