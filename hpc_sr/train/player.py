"""A network that learns: its optimizer, its number type, and one update of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from hpc_sr.train.optimizers import step_if

Part = TypeVar("Part")
#: Named scalars: the parts of a loss, and detached ones, which are only told.
Terms = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Update:
    """What one update was, as scalars on the device: reading one waits for the step, so they are read seldom.

    `terms` holds `loss`, this rank's sum of all terms, the terms by name where there are several, and
    `gradient_norm`, that of all ranks' mean gradient before clipping. Without `finite` the update was left out.
    """

    terms: dict[str, torch.Tensor]
    finite: torch.Tensor


@dataclass(frozen=True)
class Player:
    """A network with all that an update of it needs. `forward` and `optimizer` are what `Comm.distribute` returned.

    `pace` is its learning rate relative to the session's. `local_gradients` is the Comm's. Every rank sees the same
    mean gradient, so all of them update or none.
    """

    name: str
    network: nn.Module
    forward: Callable[..., Any]
    optimizer: Optimizer
    scaler: GradScaler
    clip_norm: float | None = None
    local_gradients: Callable[[Callable[..., Any]], AbstractContextManager] = lambda forward: nullcontext()
    pace: float = 1.0

    def descend(self, parts: Sequence[Part], terms: Callable[[Part], Terms]) -> Update:
        """Update the network by the gradient of the parts' mean, exchanged once; `terms` returns a part's losses.

        Nothing in here waits for the device.
        """
        self.optimizer.zero_grad(set_to_none=True)
        seen: dict[str, torch.Tensor] = {}
        for number, part in enumerate(parts, start=1):
            with nullcontext() if number == len(parts) else self.local_gradients(self.forward):
                found = {name: term / len(parts) for name, term in terms(part).items()}
                parts_of_loss = [term for term in found.values() if term.requires_grad]
                loss = sum(parts_of_loss, start=torch.zeros((), device=next(iter(found.values())).device))
                self.scaler.scale(loss).backward()
            told = {"loss": loss, **(found if len(found) > 1 else {})}
            seen = {name: seen.get(name, 0) + term.detach() for name, term in told.items()}
        self.scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.clip_norm or float("inf"))
        finite = norm.isfinite()
        step_if(self.optimizer, finite)
        self.scaler.update()
        return Update({**seen, "gradient_norm": norm}, finite)

    @contextmanager
    def frozen(self) -> Iterator[nn.Module]:
        """Lend the network itself, letting gradients through and taking none."""
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        for parameter in trained:
            parameter.requires_grad_(False)
        try:
            yield self.network
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)
