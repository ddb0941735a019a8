"""MPI for the preparation of data, which is work shared out and results gathered: no model, no gradients, no torch.

Training never takes its ranks from here: under horovodrun's Gloo mode every MPI program is alone.
"""

from __future__ import annotations

import faulthandler
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from hpc_sr.comm.launchers import describe_launch
from hpc_sr.comm.options import CommOptions
from hpc_sr.errors import LaunchError, MissingComponentError

R = TypeVar("R")
#: How long a waiting rank sleeps before it looks for messages again, the first time and after many times: a blocking
#: receive of Open MPI keeps a processor busy.
_FIRST_POLL_S, _LAST_POLL_S = 0.0001, 0.002


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

    def share_out(self, work: Callable[[int], R], count: int, on_result: Callable[[int, R], None]) -> list[R]:
        """Return what `work` returns for 0 to `count` - 1; `on_result` hears of each as it comes."""
        results = []
        for index in range(count):
            results.append(work(index))
            on_result(index, results[-1])
        return results

    def abort(self, code: int = 1) -> None:
        raise SystemExit(code)


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

    def share_out(self, work: Callable[[int], R], count: int, on_result: Callable[[int, R], None]) -> list[R]:
        """Return what `work` returns for 0 to `count` - 1, by number, on every rank.

        Numbers go in ascending order to whichever rank is free. Rank 0 works too if the MPI serves several threads
        (MPI_THREAD_MULTIPLE), else it only hands out. `on_result(index, result)` is called on rank 0 alone, as soon
        as a result is there, one call at a time but not always in the caller's thread.
        An exception is raised on its own rank, while the others wait: call it within failing_together.
        """
        from mpi4py import MPI

        private = self._communicator.Dup()  # no message of others gets in between
        results: dict[int, R] = {}
        if self.rank == 0:
            also_works = self.world_size == 1 or MPI.Query_thread() >= MPI.THREAD_MULTIPLE
            results = _HandOut(private, count, on_result).run(work if also_works else None)
        else:
            _ask_and_work(private, work)
        _wait_until(private.Ibarrier().Test)
        results = private.bcast(results)
        private.Free()
        return [results[index] for index in range(count)]

    def abort(self, code: int = 1) -> None:
        """End all ranks at once with this exit code."""
        self._communicator.Abort(code)


class _HandOut:
    """Rank 0's side of sharing out: a thread answers the other ranks while the caller's works."""

    def __init__(self, private: Any, count: int, on_result: Callable[[int, Any], None]):
        self._private, self._on_result = private, on_result
        self._numbers: Iterator[int | None] = itertools.chain(range(count), itertools.repeat(None))
        self._results: dict[int, Any] = {}
        self._lock = threading.Lock()
        self._error: BaseException | None = None

    def run(self, work: Callable[[int], Any] | None) -> dict[int, Any]:
        """Return all results once every other rank knows that nothing is left. Without `work`, only hand out."""
        if work is None:
            self._answer()
        else:
            answering = threading.Thread(target=self._answer, daemon=True)
            answering.start()
            done = None
            while self._error is None and (index := self._next(done)) is not None:
                done = index, work(index)
            answering.join()
        if self._error is not None:
            raise self._error
        return self._results

    def _next(self, done: tuple[int, Any] | None) -> int | None:
        """Return the next number, None if there is none, having taken the result of the one before."""
        with self._lock:
            if done is not None:
                index, self._results[index] = done
                self._on_result(*done)
            return next(self._numbers)

    def _answer(self) -> None:
        from mpi4py import MPI

        asking = self._private.Get_size() - 1
        try:
            while asking:
                status = MPI.Status()
                _wait_until(partial(self._private.Iprobe, status=status))
                index = self._next(self._private.recv(source=status.source))
                self._private.send(index, dest=status.source)
                asking -= index is None
        except BaseException as error:  # raised where the caller can see it
            self._error = error


def _ask_and_work(private: Any, work: Callable[[int], Any]) -> None:
    """The other ranks' side: each result travels with the question for the next number."""
    done = None
    while True:
        private.send(done, dest=0)
        _wait_until(lambda: private.Iprobe(source=0))
        index = private.recv(source=0)
        if index is None:
            return
        done = index, work(index)


def _wait_until(true: Callable[[], bool]) -> None:
    pause_s = _FIRST_POLL_S
    while not true():
        time.sleep(pause_s)
        pause_s = min(1.5 * pause_s, _LAST_POLL_S)


def mpi_world(patience_s: float = CommOptions().stall_s) -> MpiWorld | SerialWorld:
    """Return the world of this process; MPI is started only if a launcher started several.

    A rank that the others keep waiting for `patience_s` while MPI starts ends with code 1.
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
    # MPI starts without giving way to Python's threads: no Watchdog of ours would have a turn.
    faulthandler.dump_traceback_later(patience_s, exit=True)
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise MissingComponentError(
            f"cannot be used ({error})", where="mpi4py", cure="pip install 'hpc_sr[mpi]', or start without a launcher"
        ) from error
    finally:
        faulthandler.cancel_dump_traceback_later()
    world = MpiWorld(MPI.COMM_WORLD)
    if world.world_size != launch.world_size:
        raise LaunchError(
            f"{launch.launcher} started {launch.world_size} processes, but MPI counts {world.world_size}",
            cure="use the mpirun of the MPI that mpi4py is built with, or `srun --mpi=pmix`",
        )
    return world
