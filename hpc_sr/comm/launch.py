"""From the launcher's environment to a Comm: backend, device and processor share of this rank."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch

from hpc_sr.comm.communicator import Comm, SerialComm
from hpc_sr.comm.failure import failing_together
from hpc_sr.comm.fitting import HorovodBuild, fitting_backend
from hpc_sr.comm.launchers import Launch, describe_launch
from hpc_sr.comm.meeting import bounded_meeting
from hpc_sr.comm.options import CommOptions
from hpc_sr.errors import LaunchError, MissingComponentError, RecipeError
from hpc_sr.logs import logger

T = TypeVar("T")
_AS_LAUNCHED = CommOptions()


def run_on_ranks(work: Callable[[Comm], T], options: CommOptions = _AS_LAUNCHED) -> T:
    """Return what `work` returns, called on every rank with the Comm of this process.

    If horovodrun runs in its elastic mode (with a script that tells the hosts), `work` is called again, in a new
    world, whenever ranks were lost or came: it must go on from what it has written (see run_elastically).
    """
    if os.environ.get("HOROVOD_ELASTIC") != "1":
        with connected(options) as comm:
            return work(comm)
    from hpc_sr.comm.elastic import run_elastically

    def in_one_world(comm: Comm) -> T:
        share_processors(comm)
        return work(comm)

    return run_elastically(in_one_world, options, pin_device(describe_launch(os.environ).local_rank))


@contextmanager
def connected(options: CommOptions = _AS_LAUNCHED) -> Iterator[Comm]:
    """Lend the Comm of this process. If one rank raises, all ranks end: see failing_together."""
    comm = connect(options)
    with failing_together(comm):
        yield comm
        comm.close()


def connect(options: CommOptions = _AS_LAUNCHED) -> Comm:
    """Return the Comm that the launcher's environment asks for, with every rank there. Collective.

    A rank that the others keep waiting for `stall_s` in here ends with code 1.

    `auto` is serial for one rank, ddp under torchrun, and Horovod under horovodrun, mpirun and `srun --mpi=pmix` if
    it is installed, and built with NCCL where there are GPUs; otherwise ddp. Several ranks share out the processors
    they may run on as torch threads, unless OMP_NUM_THREADS is set (torchrun sets it to 1).
    Raises MissingComponentError if a backend is asked for by name and not installed, RecipeError if it does not have
    what the options ask for, LaunchError if the launcher and the backend disagree about the number of ranks.
    """
    launch = describe_launch(os.environ)
    backend = choose_backend(launch, options) if options.backend == "auto" else options.backend
    if launch.world_size > 1:
        check_backend_has(options, backend, launch)
    with bounded_meeting(launch, options.stall_s):
        comm = _open(backend, launch, options)
        _check_size(comm, launch)
        share_processors(comm)
    return comm


def _check_size(comm: Comm, launch: Launch) -> None:
    if comm.world_size != launch.world_size:
        raise LaunchError(
            f"{launch.launcher} started {launch.world_size} ranks, but the backend {comm.backend} is a world of "
            f"{comm.world_size}",
            cure="srun: use --mpi=pmix with an MPI built for it, or comm.backend=ddp; otherwise start Horovod with "
            "mpirun or horovodrun, ddp with torchrun, serial without a launcher",
        )


def choose_backend(launch: Launch, options: CommOptions = _AS_LAUNCHED) -> str:
    """Return what `auto` means for a launch: the same on every rank, as they have the same software.

    Options that only Horovod has count as asking for it, wherever it finds its peers.
    """
    on_gpus = torch.cuda.is_available() and not options.horovods_own
    backend, remark = fitting_backend(launch, _installed_horovod, on_gpus)
    if remark is not None and launch.rank == 0:
        logger.warning("comm.backend=auto: %s", remark)
    return backend


def _installed_horovod() -> HorovodBuild | None:
    try:
        from hpc_sr.comm.horovod import build
    except ImportError:
        return None
    return build()


def check_backend_has(options: CommOptions, backend: str, launch: Launch) -> None:
    """Raise RecipeError if this backend, with so many ranks, does not have what the options ask for."""
    if backend == "ddp" and options.horovods_own:
        raise RecipeError(
            f"only Horovod has it, and the backend is ddp (backend={options.backend}, started by {launch.launcher})",
            where=f"comm.{options.horovods_own[0]}",
            cure="start with mpirun, horovodrun or `srun --mpi=pmix` and Horovod installed, or leave it out",
        )
    if backend == "horovod" and options.static_graph:
        raise RecipeError(
            f"only ddp has it, and the backend is horovod (backend={options.backend}, started by {launch.launcher})",
            where="comm.static_graph",
            cure="choose comm.backend=ddp, or leave it out",
        )
    if options.reduction == "adasum" and launch.world_size & (launch.world_size - 1):
        raise RecipeError(
            f"adasum combines ranks in pairs, and {launch.world_size} is no power of two",
            where="comm.reduction",
            cure="start a power of two of ranks, or choose comm.reduction=mean",
        )


def share_processors(comm: Comm) -> None:
    """Give this rank its share of its host's processors as torch threads, unless OMP_NUM_THREADS says how many."""
    if comm.world_size > 1 and "OMP_NUM_THREADS" not in os.environ:
        own_and_others = comm.gather((socket.gethostname(), sorted(os.sched_getaffinity(0))))
        torch.set_num_threads(min(torch.get_num_threads(), processor_share(own_and_others, comm.rank)))


def processor_share(ranks: Sequence[tuple[str, Sequence[int]]], rank: int) -> int:
    """Return how many processors are this rank's own, at least 1, given each rank's host and allowed processors.

    A processor that several ranks of a host may use counts for each of them in equal parts: right for bound ranks,
    whose sets do not meet, and for unbound ones, whose sets are all the same.
    """
    host, processors = ranks[rank]
    together = [set(others) for other_host, others in ranks if other_host == host]
    return max(1, int(sum(1 / sum(p in others for others in together) for p in processors) + 1e-9))


def pin_device(local_rank: int) -> torch.device:
    """Return this rank's GPU, made the current one, or the CPU. A launcher may show each rank only its own GPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", local_rank % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def _open(backend: str, launch: Launch, options: CommOptions) -> Comm:
    device = pin_device(launch.local_rank)
    if backend == "serial":
        return SerialComm(device)
    if backend == "ddp":
        from hpc_sr.comm.ddp import DdpComm

        return DdpComm(launch, device, options)
    try:
        from hpc_sr.comm.horovod import HorovodComm
    except ImportError as error:
        raise MissingComponentError(
            f"cannot be used ({error})", where="backend horovod", cure="run `make horovod`, or choose comm.backend=ddp"
        ) from error
    if launch.launcher == "srun" and not launch.pmix:
        from hpc_sr.comm.srun_gloo import rendezvous

        with rendezvous(launch, options.stall_s):
            return HorovodComm(device, options)
    return HorovodComm(device, options)
