"""MPI for the preparation of data, which is work shared out and results gathered: no model, no gradients, no torch.

Training never takes its ranks from here: under horovodrun's Gloo mode every MPI program is alone.
"""

from __future__ import annotations

import os
from typing import Any

from hpc_sr.comm.launchers import describe_launch
from hpc_sr.errors import LaunchError, MissingComponentError


class SerialWorld:
    """One process."""

    rank = 0
    world_size = 1

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def broadcast(self, value: Any, root: int = 0) -> Any:
        return value

    def barrier(self) -> None:
        pass

    def abort(self) -> None:
        raise SystemExit(1)


class MpiWorld:
    """The processes of one MPI program. The methods are collective, except `abort`; values are pickled."""

    def __init__(self, communicator: Any):
        self._communicator = communicator
        self.rank, self.world_size = communicator.Get_rank(), communicator.Get_size()

    def gather(self, value: Any) -> list[Any]:
        """Return every rank's value, in rank order, on every rank."""
        return self._communicator.allgather(value)

    def broadcast(self, value: Any, root: int = 0) -> Any:
        """Return the root's value on every rank."""
        return self._communicator.bcast(value, root=root)

    def barrier(self) -> None:
        """Return when every rank has come here."""
        self._communicator.Barrier()

    def abort(self) -> None:
        """End all ranks at once with a non-zero exit code."""
        self._communicator.Abort(1)


def mpi_world() -> MpiWorld | SerialWorld:
    """Return the world of this process; MPI is started only if a launcher started several.

    Raises MissingComponentError if mpirun or srun did and mpi4py is not installed, LaunchError if the launcher is
    none of MPI's or MPI counts other ranks than the launcher: each would do all the work.
    """
    launch = describe_launch(os.environ)
    if launch.world_size == 1:
        return SerialWorld()
    if launch.launcher not in ("mpirun", "srun"):
        raise LaunchError(
            f"{launch.launcher} started {launch.world_size} processes, but this work is shared out over MPI",
            cure="start with mpirun or `srun --mpi=pmix`, or without a launcher",
        )
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise MissingComponentError(
            f"cannot be used ({error})", where="mpi4py", cure="pip install 'hpc_sr[mpi]', or start without a launcher"
        ) from error
    world = MpiWorld(MPI.COMM_WORLD)
    if world.world_size != launch.world_size:
        raise LaunchError(
            f"{launch.launcher} started {launch.world_size} processes, but MPI counts {world.world_size}",
            cure="use the mpirun of the MPI that mpi4py is built with, or `srun --mpi=pmix`",
        )
    return world
