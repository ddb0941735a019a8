"""Ranks over Horovod: MPI or Gloo between processors, NCCL between GPUs where it was built with it."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import MethodType
from typing import Any

import horovod.torch as hvd
import torch
from torch import nn
from torch.autograd import Variable
from torch.optim import Optimizer

from hpc_sr.comm.ranked import STALL_S, RankedComm

#: Large enough that latency does not matter, small enough that large models send while they still compute.
_GROUP_BYTES = 25 * 2**20


def follows(launcher: str) -> bool:
    """Return whether this build of Horovod finds its peers under `launcher`: without MPI, horovodrun only."""
    return launcher == "horovodrun" or hvd.mpi_built()


class HorovodComm(RankedComm):
    """Every collective carries an explicit name: Horovod's default is the value's type, which may differ by rank."""

    backend = "horovod"

    def __init__(self, device: torch.device):
        os.environ.setdefault("HOROVOD_STALL_SHUTDOWN_TIME_SECONDS", str(STALL_S))  # Horovod's own default: for ever
        os.environ.setdefault("HOROVOD_DISABLE_GROUP_FUSION", "1")  # see _groups
        hvd.init()
        self.rank, self.world_size, self.local_rank = hvd.rank(), hvd.size(), hvd.local_rank()
        self.device = device
        self._models = 0

    def barrier(self) -> None:
        hvd.barrier()

    def broadcast(self, value: Any, root: int = 0) -> Any:
        return hvd.broadcast_object(value, root_rank=root, name="comm.broadcast")

    def gather(self, value: Any) -> list[Any]:
        return hvd.allgather_object(value, name="comm.gather")

    def distribute(self, model: nn.Module, optimizer: Optimizer) -> tuple[Callable[..., torch.Tensor], Optimizer]:
        # Horovod makes a new optimizer without the old one's state, and its broadcast of a state that is still empty
        # takes a step with zero gradients (Adam then counts from 1, AdamW decays): state comes by load_state_dict.
        assert not optimizer.state, "distribute a new optimizer, then load its state"
        self.start_from_root(model)
        named = [(f"model{self._models}.{name}", parameter) for name, parameter in model.named_parameters()]
        self._models += 1
        averaging = hvd.DistributedOptimizer(
            optimizer, named_parameters=named, op=hvd.Average, groups=_groups(optimizer)
        )
        _finish_with_backward(averaging)
        return model, averaging

    def close(self) -> None:
        hvd.barrier()
        hvd.shutdown()


def _groups(optimizer: Optimizer) -> list[list[torch.Tensor]]:
    """Return the parameters, last ones first, in groups of some megabytes that are exchanged as one.

    Left to itself, Horovod puts together what happens to be ready. Where a gradient lies in the exchanged buffer
    decides the order of additions, so with three ranks or more no two runs would give the same bits.
    """
    groups: list[list[torch.Tensor]] = [[]]
    size_bytes = 0
    for group in reversed(optimizer.param_groups):
        for parameter in reversed(group["params"]):
            if size_bytes > _GROUP_BYTES:
                groups.append([])
                size_bytes = 0
            groups[-1].append(parameter)
            size_bytes += parameter.numel() * parameter.element_size()
    return groups


def _finish_with_backward(optimizer: Optimizer) -> None:
    """Make gradients means when `backward` returns, not when `step` is called.

    So `.grad` means the same on every backend: it may be clipped or looked at before the step, and several backwards
    may precede one. The exchange still overlaps with the backward pass, which only waits for its last part.
    """
    started = False

    def finish() -> None:
        nonlocal started
        started = False
        optimizer.synchronize()

    def on_gradient(parameter: torch.Tensor) -> None:
        nonlocal started
        if not started:
            started = True
            Variable._execution_engine.queue_callback(finish)

    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(on_gradient)

    horovods_step = optimizer.step

    def step(self: Optimizer, closure: Callable[[], Any] | None = None) -> Any:
        with self.skip_synchronize():
            return horovods_step(closure)

    optimizer.step = MethodType(step, optimizer)
    optimizer.zero_grad = MethodType(Optimizer.zero_grad, optimizer)  # Horovod's takes no set_to_none
