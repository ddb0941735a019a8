"""What `comm.backend: auto` means: a function of the launch, of the Horovod that is installed, and of the devices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hpc_sr.comm.launchers import Launch

_SLOW = "this Horovod is built without NCCL, so gradients would go from GPU to GPU through host memory"
_CURE = "`make horovod` builds it with NCCL where that is installed"


@dataclass(frozen=True)
class HorovodBuild:
    """What an installed Horovod was built with, besides Gloo."""

    mpi: bool
    nccl: bool


def fitting_backend(
    launch: Launch, look_up: Callable[[], HorovodBuild | None], on_gpus: bool
) -> tuple[str, str | None]:
    """Return the backend that fits a launch, and what there is to say about it, if anything.

    `look_up` returns the Horovod that is installed, if any, and is called only where it matters: loading takes time.

    Under srun an MPI needs PMIx, or each rank would be alone; without MPI Horovod finds its peers under horovodrun
    only. Between GPUs NCCL matters more than the launcher, and ddp has it; but ddp has to know where its ranks meet.
    """
    if launch.world_size == 1:
        return "serial", None
    if launch.launcher == "torchrun" or (launch.launcher == "srun" and not launch.pmix):
        return "ddp", None
    horovod = look_up()
    if horovod is None or not (launch.launcher == "horovodrun" or horovod.mpi):
        return "ddp", None
    if horovod.nccl or not on_gpus:
        return "horovod", None
    if launch.rendezvous is None:
        return "horovod", f"{_SLOW}; ddp could not tell where its ranks meet (MASTER_ADDR says it); {_CURE}"
    return "ddp", f"{_SLOW}: ddp over NCCL is taken; {_CURE}"
