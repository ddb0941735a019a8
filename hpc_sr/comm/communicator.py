"""What ranks can do together, and the world of one.

Every method below is collective unless it says otherwise: all ranks call it, in the same order. A single process is
no special case: SerialComm is a backend like the others and passes the same contract (tests/parallel).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer


class Comm(Protocol):
    """The ranks of one run. `local_rank` counts on the node, `device` is this rank's own.

    `waited_s` adds up how long this rank has waited for gradients after its own backward passes were done, and for
    means of tensors: what the exchange costs that computing does not hide. On a GPU, reading it waits for the device.
    `world_changes` says that an elastic launcher has heard of other hosts: save, agree by `any` (one rank alone may
    know), and return to be called again by `run_on_ranks`.
    `own_moments` says that optimizers differ from rank to rank (Adasum): all of their states must be saved.
    """

    backend: str
    rank: int
    world_size: int
    local_rank: int
    device: torch.device
    own_moments: bool

    @property
    def waited_s(self) -> float: ...

    @property
    def world_changes(self) -> bool: ...

    def barrier(self) -> None:
        """Return when every rank has come here."""

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Return the float64 sum over ranks, element by element, the same bits on every rank."""

    def mean(self, terms: dict[str, float]) -> dict[str, float]:
        """Return the mean over ranks of each named number; all ranks give the same names."""

    def any(self, flag: bool) -> bool:
        """Return whether the flag is true on at least one rank."""

    def broadcast(self, value: Any, root: int = 0) -> Any:
        """Return the root's picklable value on every rank."""

    def gather(self, value: Any) -> list[Any]:
        """Return every rank's picklable value, in rank order, on every rank."""

    def mean_with_gradient(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the mean over ranks of a small tensor of one shape, the same bits on every rank; differentiable.

        Ranks k = 1..n give x_k and get m = (1/n) sum_k x_k. Their losses L_r(m) together descend
        J = (1/n) sum_r L_r, so dJ/dx_k = (1/n) sum_r dL_r/dm (1/n). `distribute` divides by n what each rank has put
        into `.grad`, so rank k must let n dJ/dx_k = (1/n) sum_r dL_r/dm through: the mean over ranks of the gradients
        that come back. Backward through the mean is thus collective: on every rank or on none, in the same order.
        Each rank counts alike, whatever the size of its batch.
        """

    def synchronised(self, network: nn.Module) -> nn.Module:
        """Return the network with BatchNorm over the batches of all ranks in training; one rank's is as it was.

        It is the same object with the same parameters and buffers. Running statistics are equal on all ranks, once
        `distribute` has made them so. From now on forward and backward in training are collective, inside
        `local_gradients` too: each portion of an accumulated batch has statistics of its own. Gradients may be
        differentiated again. Not collective itself, but every rank must do the same.
        """

    def distribute(self, model: nn.Module, optimizer: Optimizer) -> tuple[Callable[..., torch.Tensor], Optimizer]:
        """Return what to call instead of the model and what to step instead of the optimizer.

        All ranks start from rank 0's parameters and buffers; from then on, when a `backward` through the returned
        callable returns, every `.grad` is the mean over ranks (further backwards add their means). The model keeps
        its parameters: save and load the model itself, and the returned optimizer's state_dict, which is loaded after
        this call. A model that only lets gradients through (the critic in a generator's step) is frozen with
        `requires_grad_(False)` and called itself.
        """

    def local_gradients(self, forward: Callable[..., torch.Tensor]) -> AbstractContextManager[None]:
        """Return a block in which `backward` through `forward` adds up this rank's own gradients without exchange.

        Forward and backward both belong inside. The next backward outside exchanges the sum, so `.grad` is then the
        mean over ranks of all that was added up. `forward` is what `distribute` returned, compiled or not. Not
        collective, but every rank must do the same.
        """

    def recording(self, folder: Path) -> AbstractContextManager[None]:
        """Return a block whose exchanges a backend that can do so writes down: Horovod, into horovod.json.

        Entering it is collective.
        """

    def close(self) -> None:
        """Leave the group; nothing may be called afterwards."""

    def abort(self, code: int = 1) -> None:
        """End this process, unclean, with a code other than 0, so that every other rank ends too. Not collective."""


class SerialComm:
    """One rank. Every method is the mathematical truth for a world of one."""

    backend = "serial"
    rank = 0
    world_size = 1
    local_rank = 0
    waited_s = 0.0
    world_changes = False
    own_moments = False

    def __init__(self, device: torch.device | None = None):
        self.device = device or torch.device("cpu")

    def barrier(self) -> None:
        pass

    def sum(self, values: np.ndarray) -> np.ndarray:
        return np.array(values, np.float64)

    def mean(self, terms: dict[str, float]) -> dict[str, float]:
        return {name: float(value) for name, value in terms.items()}

    def any(self, flag: bool) -> bool:
        return bool(flag)

    def broadcast(self, value: Any, root: int = 0) -> Any:
        return value

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def mean_with_gradient(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    def synchronised(self, network: nn.Module) -> nn.Module:
        return network

    def distribute(self, model: nn.Module, optimizer: Optimizer) -> tuple[Callable[..., torch.Tensor], Optimizer]:
        return model, optimizer

    def local_gradients(self, forward: Callable[..., torch.Tensor]) -> AbstractContextManager[None]:
        return nullcontext()

    def recording(self, folder: Path) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self) -> None:
        pass

    def abort(self, code: int = 1) -> None:
        raise SystemExit(code)
