"""What every backend of several ranks does in the same way, given `gather` and `broadcast` of its own."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hpc_sr.comm.batch_norm import synchronise
from hpc_sr.errors import TrainingError


class RankedComm(ABC):
    """The part of Comm that follows from `gather` and `broadcast`: reductions in rank order, and the common start.

    What is reduced here is small (metrics, flags); gradients go through the backend's own allreduce.
    """

    rank: int
    world_size: int

    @property
    def world_changes(self) -> bool:
        return False

    own_moments = False

    @abstractmethod
    def broadcast(self, value: Any, root: int = 0) -> Any: ...

    @abstractmethod
    def gather(self, value: Any) -> list[Any]: ...

    @abstractmethod
    def gather_tensors(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Return every rank's tensor of one shape and type, in rank order, on the device."""

    def sum(self, values: np.ndarray) -> np.ndarray:
        parts = self.gather(np.asarray(values, np.float64))
        self._check_agreement([part.shape for part in parts], "array shapes")
        # Added in rank order by everyone: a tree or ring would make the bits depend on topology and backend.
        total = parts[0].copy()
        with np.errstate(invalid="ignore"):  # inf - inf is NaN, here as everywhere
            for part in parts[1:]:
                total += part
        return total

    def mean(self, terms: dict[str, float]) -> dict[str, float]:
        parts = self.gather({name: float(value) for name, value in terms.items()})
        self._check_agreement([tuple(part) for part in parts], "names of numbers")
        return {name: sum(part[name] for part in parts) / self.world_size for name in terms}

    def any(self, flag: bool) -> bool:
        return any(self.gather(bool(flag)))

    def mean_with_gradient(self, tensor: torch.Tensor) -> torch.Tensor:
        return _MeanWithGradient.apply(tensor, self._mean_of_tensors)

    def synchronised(self, network: nn.Module) -> nn.Module:
        if self.world_size == 1:
            return network

        @torch.compiler.disable  # it would trace the exchange, and compile it anew each time
        def sum_over_ranks(tensor: torch.Tensor) -> torch.Tensor:
            return self.world_size * self.mean_with_gradient(tensor)

        return synchronise(network, sum_over_ranks)

    def _mean_of_tensors(self, tensor: torch.Tensor) -> torch.Tensor:
        # float64, whatever the type: half precision has no exchange under Horovod, and its sums no bits.
        own = tensor.detach().double().contiguous()
        mean = sum(self.gather_tensors(own), torch.zeros_like(own)) / self.world_size
        return mean.to(tensor.dtype)

    def recording(self, folder: Path) -> AbstractContextManager[None]:
        return nullcontext()

    def abort(self, code: int = 1) -> None:
        # Not sys.exit: the backends' exit handlers wait for the other ranks. Launchers end a job that loses a rank.
        os._exit(code)

    def start_from_root(self, model: nn.Module) -> None:
        """Give the model rank 0's parameters and buffers, of any type and on any device."""
        tensors = [*model.parameters(), *model.buffers()]
        values = self.broadcast([tensor.detach().cpu() for tensor in tensors] if self.rank == 0 else None)
        with torch.no_grad():
            for tensor, value in zip(tensors, values, strict=True):
                tensor.copy_(value)

    def _check_agreement(self, found: list[Any], what: str) -> None:
        if any(other != found[0] for other in found):
            told = ", ".join(f"rank {rank}: {value}" for rank, value in enumerate(found))
            raise TrainingError(f"the ranks give different {what} to one collective ({told})", cure="report this bug")


class _MeanWithGradient(torch.autograd.Function):
    """The mean over ranks, of tensors forwards and of gradients backwards; so again for gradients of gradients."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, mean: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        ctx.mean = mean
        return mean(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _MeanWithGradient.apply(gradient, ctx.mean), None


def uncompiled(forward: Callable[..., torch.Tensor]) -> nn.Module:
    """Return the module that torch.compile has wrapped, or that is called as it is."""
    module: Any = getattr(forward, "_orig_mod", forward)
    return module
