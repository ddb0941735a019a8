"""Ranks over torch.distributed: NCCL between GPUs, Gloo between processors."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from hpc_sr.comm.bucket_hook import BucketHook
from hpc_sr.comm.launchers import Launch
from hpc_sr.comm.meeting import common_store
from hpc_sr.comm.options import CommOptions
from hpc_sr.comm.ranked import RankedComm, uncompiled
from hpc_sr.comm.waits import Waits, moment

#: A rank keeps its own buffers after the start; the option for that has a new name from torch 2.13 on.
_NEW = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
_OWN_BUFFERS: dict[str, Any] = {"forward_sync_buffers" if _NEW else "broadcast_buffers": False}


class DdpComm(RankedComm):
    """Gradients go through the default group; objects and numbers through a Gloo group of their own."""

    backend = "ddp"

    def __init__(self, launch: Launch, device: torch.device, options: CommOptions):
        self.rank, self.world_size, self.local_rank = launch.rank, launch.world_size, launch.local_rank
        self.device = device
        patience = timedelta(seconds=options.stall_s)
        with common_store(launch, options.stall_s) as store:
            dist.init_process_group(
                "nccl" if device.type == "cuda" else "gloo",
                store=store,
                timeout=patience,
                rank=self.rank,
                world_size=self.world_size,
            )
            self._objects = dist.new_group(backend="gloo", timeout=patience)
        self._options = options
        self._hooks: list[BucketHook] = []
        self._means = Waits()

    @property
    def waited_s(self) -> float:
        return self._means.total_s + sum(hook.waited_s for hook in self._hooks)

    def barrier(self) -> None:
        dist.barrier(self._objects)

    def broadcast(self, value: Any, root: int = 0) -> Any:
        box = [value if self.rank == root else None]
        dist.broadcast_object_list(box, src=root, group=self._objects, device=torch.device("cpu"))
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=self._objects)
        return values

    def gather_tensors(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        tensors = [torch.empty_like(tensor) for _ in range(self.world_size)]
        wait = self._means.begin()
        wait.ready = moment(tensor.device)
        dist.all_gather(tensors, tensor)
        wait.done.append(moment(tensor.device))
        return tensors

    def distribute(self, model: nn.Module, optimizer: Optimizer) -> tuple[Callable[..., torch.Tensor], Optimizer]:
        self.start_from_root(model)
        # A 1 x 1 kernel's axes of length 1 have strides of their own, which mean nothing.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        parallel = DistributedDataParallel(
            model,
            gradient_as_bucket_view=True,
            bucket_cap_mb=self._options.bucket_mb,
            static_graph=self._options.static_graph,
            **_OWN_BUFFERS,
        )
        hook = BucketHook(self.world_size, self._options.compression)
        parallel.register_comm_hook(hook, lambda state, bucket: state(bucket))  # annotated hooks need live types
        self._hooks.append(hook)
        _settle(parallel)
        return parallel, optimizer

    def local_gradients(self, forward: Callable[..., torch.Tensor]) -> AbstractContextManager[None]:
        parallel = uncompiled(forward)
        assert isinstance(parallel, DistributedDataParallel)
        return parallel.no_sync()

    def close(self) -> None:
        self.barrier()
        dist.destroy_process_group()
        # Its threads end with its last reference: while the interpreter exits they could free no tensor, and abort.
        del self._objects


def _settle(parallel: DistributedDataParallel) -> None:
    """Let DDP lay out its buckets now, by backward passes in reverse order of the parameters.

    It lays them out anew after its first backward pass. Where a gradient lies in a bucket decides the order of
    additions, so with three ranks or more the first step after a resume would differ in bits from the same step of a
    run that goes on.
    """
    trained = [parameter for parameter in parallel.module.parameters() if parameter.requires_grad]
    own = vars(parallel.module).get("forward")  # a synchronised BatchNorm's
    parallel.module.forward = lambda: sum(parameter.sum() for parameter in trained)
    for _ in range(2):  # a static graph is laid out after the second only
        parallel().backward()
    with parallel.no_sync():  # else DDP would exchange at the next backward, even one that is to stay local
        parallel()  # the buckets move at the next forward
    del parallel.module.forward  # the class's own comes to light again
    if own is not None:
        parallel.module.forward = own
    parallel.zero_grad()
