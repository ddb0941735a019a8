"""Horovod's optimizers, made to mean what `Comm.distribute` promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import MethodType
from typing import Any

import horovod.torch as hvd
import torch
from torch import nn
from torch.autograd import Variable
from torch.optim import Optimizer

from hpc_sr.comm.options import CommOptions

#: Lends a block that is a wait for gradients: the owner counts its time and does not let it last for ever.
Waiting = Callable[[], AbstractContextManager[None]]
Named = list[tuple[str, nn.Parameter]]
#: More backward passes than anybody makes between two updates.
_NEVER = 2**31


class Averaging:
    """One model's gradients: means over ranks when `backward` returns, not when `step` is called.

    So `.grad` means the same on every backend: it may be clipped or looked at before the step, and several backwards
    may precede one. The exchange still overlaps with the backward pass, which only waits for its last part.
    """

    def __init__(self, optimizer: Optimizer, named: Named, options: CommOptions, waiting: Waiting):
        self.optimizer = hvd.DistributedOptimizer(
            optimizer,
            named_parameters=named,
            op=hvd.Average,
            compression=getattr(hvd.Compression, options.compression),
            groups=None if options.autotune else _groups(optimizer, options.bucket_mb * 2**20),
        )
        self._waiting = waiting
        self._started = self._held_back = False
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.requires_grad:
                    parameter.register_post_accumulate_grad_hook(self._on_gradient)
        self._horovods_step = self.optimizer.step
        self.optimizer.step = MethodType(self._step, self.optimizer)
        _mend_zero_grad(self.optimizer)

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Let gradients add up on this rank for the time of the block; the next backward after it exchanges them."""
        self._held_back = True
        self.optimizer.set_backward_passes_per_step(_NEVER)
        try:
            yield
        finally:
            self._held_back = False
            self.optimizer.set_backward_passes_per_step(1)

    def _on_gradient(self, parameter: torch.Tensor) -> None:
        if not self._started and not self._held_back:
            self._started = True
            Variable._execution_engine.queue_callback(self._finish)

    def _finish(self) -> None:
        self._started = False
        with self._waiting():
            self.optimizer.synchronize()

    def _step(self, optimizer: Any, closure: Callable[[], Any] | None = None) -> Any:
        with optimizer.skip_synchronize():
            return self._horovods_step(closure)


def adasum(optimizer: Optimizer, named: Named, waiting: Waiting) -> Optimizer:
    """Return an optimizer that combines the ranks' updates by Adasum.

    Horovod makes each rank's own update during `backward`, and exchanges it; `step` only waits for the result. So the
    learning rate must be set before `backward`, `.grad` is no mean, and nothing may be done between the two: no
    clipping, no loss scaling, no skipped step, no accumulation.
    """
    combining = hvd.DistributedOptimizer(optimizer, named_parameters=named, op=hvd.Adasum)
    horovods_step = combining.step

    def step(self: Optimizer, closure: Callable[[], Any] | None = None) -> Any:
        with waiting():
            return horovods_step(closure)

    combining.step = MethodType(step, combining)
    _mend_zero_grad(combining)
    return combining


def _mend_zero_grad(optimizer: Any) -> None:
    optimizer.zero_grad = MethodType(Optimizer.zero_grad, optimizer)  # Horovod's takes no set_to_none


def _groups(optimizer: Optimizer, group_bytes: float) -> list[list[torch.Tensor]]:
    """Return the parameters, last ones first, in groups of some megabytes that are exchanged as one.

    Left to itself, Horovod puts together what happens to be ready. Where a gradient lies in the exchanged buffer
    decides the order of additions, so with three ranks or more no two runs would give the same bits.
    """
    groups: list[list[torch.Tensor]] = [[]]
    size_bytes = 0
    for group in reversed(optimizer.param_groups):
        for parameter in reversed(group["params"]):
            if size_bytes > group_bytes:
                groups.append([])
                size_bytes = 0
            groups[-1].append(parameter)
            size_bytes += parameter.numel() * parameter.element_size()
    return groups
