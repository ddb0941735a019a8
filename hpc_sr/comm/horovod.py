"""Ranks over Horovod: MPI or Gloo between processors, NCCL between GPUs where it was built with it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import horovod.torch as hvd
import torch
from torch import nn
from torch.optim import Optimizer

from hpc_sr.comm.fitting import HorovodBuild
from hpc_sr.comm.horovod_gradients import Averaging, adasum
from hpc_sr.comm.options import CommOptions
from hpc_sr.comm.ranked import RankedComm, uncompiled
from hpc_sr.comm.watchdog import Watchdog
from hpc_sr.errors import LaunchError

#: What lets a timeline begin and end while Horovod runs.
_DYNAMIC = "DYNAMIC"


def build() -> HorovodBuild:
    """Return what this Horovod was built with."""
    return HorovodBuild(mpi=hvd.mpi_built(), nccl=bool(hvd.nccl_built()))


class HorovodComm(RankedComm):
    """Every collective carries an explicit name: Horovod's default is the value's type, which may differ by rank."""

    backend = "horovod"

    def __init__(self, device: torch.device, options: CommOptions):
        _tell_horovod(options)
        _share_processors_while_waiting()
        if not hvd.is_initialized():  # in elastic mode it is from the second world on
            hvd.init()
        self.rank, self.world_size, self.local_rank = hvd.rank(), hvd.size(), hvd.local_rank()
        if self.world_size > 1 and options.reduction == "adasum" and not hvd.mpi_enabled():
            raise LaunchError(
                "Horovod has Adasum over MPI only, and runs over Gloo here",
                where="comm.reduction",
                cure="start with mpirun or `horovodrun --mpi`, or choose comm.reduction=mean",
            )
        self.device = device
        self.own_moments = options.reduction == "adasum"
        self.waited_s = 0.0
        self._options = options
        self._watchdog = Watchdog(f"rank {self.rank} of {self.world_size}", options.stall_s)
        self._names = 0
        self._averaging: WeakKeyDictionary[nn.Module, Averaging] = WeakKeyDictionary()

    def barrier(self) -> None:
        with self._watchdog.over("a barrier"):
            hvd.barrier()

    def broadcast(self, value: Any, root: int = 0) -> Any:
        with self._watchdog.over("a broadcast"):
            return hvd.broadcast_object(value, root_rank=root, name="comm.broadcast")

    def gather(self, value: Any) -> list[Any]:
        with self._watchdog.over("a gather"):
            return hvd.allgather_object(value, name="comm.gather")

    def gather_tensors(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        with self._waiting("a mean over ranks"):
            # A name a size: Horovod plans an exchange anew when a name comes with another size (three times as slow).
            return list(hvd.allgather(tensor[None], name=f"comm.tensors.{tensor.numel()}"))

    def distribute(self, model: nn.Module, optimizer: Optimizer) -> tuple[Callable[..., torch.Tensor], Optimizer]:
        # Horovod makes a new optimizer without the old one's state, and its broadcast of a state that is still empty
        # takes a step with zero gradients (Adam then counts from 1, AdamW decays): state comes by load_state_dict.
        assert not optimizer.state, "distribute a new optimizer, then load its state"
        self.start_from_root(model)
        named = [(f"model{self._names}.{name}", parameter) for name, parameter in model.named_parameters()]
        self._names += 1
        with self._watchdog.over("agreeing on the order of gradients"):
            if self._options.reduction == "adasum" and self.world_size > 1:
                return model, adasum(optimizer, named, self._waiting)
            averaging = Averaging(optimizer, named, self._options, self._waiting)
        self._averaging[model] = averaging
        return model, averaging.optimizer

    def local_gradients(self, forward: Callable[..., torch.Tensor]) -> AbstractContextManager[None]:
        assert self._options.reduction == "mean" or self.world_size == 1, "adasum exchanges in every backward"
        return self._averaging[uncompiled(forward)].held_back()

    @contextmanager
    def recording(self, folder: Path) -> Iterator[None]:
        if os.environ["HOROVOD_TIMELINE"] != _DYNAMIC:  # somebody records all of the run
            yield
            return
        # The first rank writes what it has heard of all of them.
        if self.rank == 0:
            folder.mkdir(parents=True, exist_ok=True)
        self.barrier()
        hvd.start_timeline(str(folder / "horovod.json"))
        try:
            yield
        finally:
            hvd.stop_timeline()

    def close(self) -> None:
        with self._watchdog.over("leaving the group"):
            hvd.barrier()
            hvd.shutdown()
        self.watch_no_longer()

    def watch_no_longer(self) -> None:
        """End what `close` would end, when the group is already gone. Not collective."""
        self._watchdog.end()

    @contextmanager
    def _waiting(self, what: str = "the exchange of gradients") -> Iterator[None]:
        """Watch and time a wait of a step."""
        began = time.perf_counter()
        with self._watchdog.over(what):
            yield
        self.waited_s += time.perf_counter() - began


def _tell_horovod(options: CommOptions) -> None:
    """Put what Horovod reads when it starts into its environment variables."""
    stall_s = max(1, round(options.stall_s))
    os.environ["HOROVOD_STALL_SHUTDOWN_TIME_SECONDS"] = str(stall_s)  # Horovod's own default: for ever
    os.environ.setdefault("HOROVOD_STALL_CHECK_TIME_SECONDS", str(min(60, stall_s)))  # no shutdown before the warning
    os.environ.setdefault("HOROVOD_TIMELINE", _DYNAMIC)
    if options.cycle_time_ms is not None:
        os.environ["HOROVOD_CYCLE_TIME"] = str(options.cycle_time_ms)
    if options.autotune:
        os.environ["HOROVOD_AUTOTUNE"] = "1"
    else:
        os.environ.setdefault("HOROVOD_DISABLE_GROUP_FUSION", "1")  # see Averaging


def _share_processors_while_waiting() -> None:
    """Let MPI's waiting ranks make way for others if there are more of them than processors.

    `horovodrun -np 16` promises Open MPI 16 slots wherever it runs, so Open MPI does not see it for itself: with 16
    ranks on 2 processors a step then takes 25 times as long.
    """
    ranks_here = int(os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", 1))
    if ranks_here > len(os.sched_getaffinity(0)):  # also where each is bound to processors of its own: costs nothing
        os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
