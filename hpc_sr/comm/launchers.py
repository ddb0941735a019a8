"""Who started this process, as which rank of how many: the launchers' environment variables, only read."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from hpc_sr.errors import LaunchError

#: How many ports rank 0 looks at for a free one, if none is given.
_PORTS = 10


@dataclass(frozen=True)
class MeetingPlace:
    """Where the ranks of a launch meet: rank 0 takes the first free one of `ports` on `host`, as meeting.py tells.

    `name` differs from launch to launch, and holds no line ends.
    """

    host: str
    ports: tuple[int, ...]
    name: str

    def __str__(self) -> str:
        last = f"-{self.ports[-1]}" if len(self.ports) > 1 else ""
        return f"{self.host}:{self.ports[0]}{last}"


@dataclass(frozen=True)
class Launch:
    """One process of a launch.

    `launcher` is none, torchrun, horovodrun (its Gloo mode; its MPI mode is mpirun), mpirun or srun. `pmix` says that
    an Open MPI library finds its peers under srun. `rendezvous` is where the ranks meet; None if torchrun's agent
    arranges it, or if the environment does not tell rank 0's host.
    """

    launcher: str
    rank: int
    world_size: int
    local_rank: int
    rendezvous: MeetingPlace | None
    pmix: bool = False


def describe_launch(environ: Mapping[str, str]) -> Launch:
    """Return what the environment says about this process; one rank alone if no launcher left its mark.

    The nearest launcher wins: mpirun in a Slurm allocation starts its daemons by srun, so their processes carry both.
    A Slurm batch script or salloc shell is one process whatever the allocation's size: only srun's steps have ranks.
    `MASTER_ADDR` and `MASTER_PORT` override the derived rendezvous.
    Raises LaunchError if the variables of a launcher are incomplete or not numbers.
    """
    if "TORCHELASTIC_RUN_ID" in environ or {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= environ.keys():
        rank, world_size = _numbers(environ, "RANK", "WORLD_SIZE")
        (local_rank,) = _numbers(environ, "LOCAL_RANK") if "LOCAL_RANK" in environ else (rank,)
        place = None if environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" else _place(environ, "", "torchrun")
        return Launch("torchrun", rank, world_size, local_rank, place)
    if "HOROVOD_RANK" in environ:
        return _several(
            environ,
            "horovodrun",
            ("HOROVOD_RANK", "HOROVOD_SIZE", "HOROVOD_LOCAL_RANK"),
            one_node=environ.get("HOROVOD_LOCAL_SIZE") == environ.get("HOROVOD_SIZE"),
            name=environ.get("HOROVOD_GLOO_RENDEZVOUS_PORT", ""),
        )
    if "OMPI_COMM_WORLD_SIZE" in environ:
        return _several(
            environ,
            "mpirun",
            ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
            one_node=environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == environ["OMPI_COMM_WORLD_SIZE"],
            name=environ.get("PMIX_NAMESPACE", ""),
        )
    if "MPI_LOCALRANKID" in environ:  # the mpiexec of MPICH and its relatives
        return _several(
            environ,
            "mpirun",
            ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
            one_node=environ.get("MPI_LOCALNRANKS") == environ.get("PMI_SIZE"),
            name="",
        )
    if "SLURM_STEP_ID" in environ:
        # SLURM_NTASKS is the allocation's count in the step of an interactive shell, which is one task.
        size = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environ else "SLURM_NTASKS"
        return _several(
            environ,
            "srun",
            ("SLURM_PROCID", size, "SLURM_LOCALID"),
            one_node=environ.get("SLURM_STEP_NUM_NODES") == "1",
            # A requeued job has the same number, and what is left of its last start may still answer.
            name=f"{environ.get('SLURM_JOB_ID')}.{environ['SLURM_STEP_ID']}.{environ.get('SLURM_RESTART_COUNT', 0)}",
        )
    # Port 0: any free one, as nobody else has to know it.
    return Launch("none", 0, 1, 0, MeetingPlace("127.0.0.1", (0,), "none"))


def first_host(nodelist: str) -> str:
    """Return the first host of a Slurm node list: `jwb[0009-0012,0100],jwc1` -> `jwb0009`."""
    return re.sub(r"\[(\w+)[^]]*]", r"\1", nodelist).split(",")[0]


def _several(
    environ: Mapping[str, str], launcher: str, names: tuple[str, str, str], *, one_node: bool, name: str
) -> Launch:
    """Return the launch of a launcher that does not arrange a rendezvous; `name` differs from launch to launch."""
    rank, world_size, local_rank = _numbers(environ, *names)
    nodes = environ.get("SLURM_STEP_NODELIST") if launcher == "srun" else None
    nodes = nodes or environ.get("SLURM_JOB_NODELIST", "")
    host = "127.0.0.1" if one_node else first_host(nodes)
    place = _place(environ, host, f"{launcher} {name}")
    return Launch(launcher, rank, world_size, local_rank, place, pmix="PMIX_RANK" in environ)


def _place(environ: Mapping[str, str], host: str, name: str) -> MeetingPlace | None:
    """Return where to meet, by MASTER_ADDR and MASTER_PORT if they are given; the same on every rank of a launch."""
    host = environ.get("MASTER_ADDR") or host
    if environ.get("MASTER_PORT"):
        ports = _numbers(environ, "MASTER_PORT")
        if not 0 < ports[0] < 1 << 16:
            raise LaunchError(f"is {ports[0]}, not a port", where="MASTER_PORT", cure="choose one from 1024 to 65535")
    else:
        # Between the well-known ports and those that Linux hands out (32768 up).
        first = zlib.crc32(name.encode())
        ports = tuple(15_000 + (first + turn) % 15_000 for turn in range(_PORTS))
    return MeetingPlace(host, ports, f"hpc_sr {name}") if host else None


def _numbers(environ: Mapping[str, str], *names: str) -> tuple[int, ...]:
    numbers = []
    for name in names:
        text = environ.get(name, "")
        if not text.isdecimal():
            found = f"is {text!r}, not a number" if name in environ else "is not set"
            raise LaunchError(
                f"{found}, but other variables of its launcher are set",
                where=name,
                cure="start with horovodrun, mpirun, srun or torchrun, or clear what an outer launcher left",
            )
        numbers.append(int(text))
    return tuple(numbers)
