"""All ranks fail, or none: a rank that raises ends the others, which would wait for it in their next collective."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeVar

from hpc_sr.errors import HpcSrError
from hpc_sr.logs import logger

if TYPE_CHECKING:
    from hpc_sr.comm.communicator import Comm


R = TypeVar("R")


class World(Protocol):
    """What failing together needs to know of the ranks."""

    rank: int
    world_size: int

    def abort(self, code: int = 1) -> None:
        """End this process, unclean, with a code other than 0, so that every other rank ends too."""


@contextmanager
def failing_together(world: World, let_pass: tuple[type[BaseException], ...] = ()) -> Iterator[None]:
    """Run the block; if it raises on one of several ranks, say so with the rank and abort the world.

    The exit code is the error's own, as on the command line: 2 for a user's error, else 1. With one rank the exception
    passes through, and so do those of `let_pass`, which the caller knows how to survive. Under srun the launcher ends
    the others only with `--kill-on-bad-exit` (or SLURM_KILL_BAD_EXIT=1); without it they end when their own
    communication fails.
    """
    try:
        yield
    except let_pass:
        raise
    except BaseException as error:
        if world.world_size == 1:
            raise
        known = isinstance(error, HpcSrError)
        text = f"{type(error).__name__}: {error}" if known else traceback.format_exc().rstrip()
        message = f"[rank {world.rank} of {world.world_size}] {text}"
        if logger.handlers:
            logger.error(message)
        if world.rank != 0 or not logger.handlers:  # only rank 0 logs to standard error (logs.setup_logging)
            print(message, file=sys.stderr)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        world.abort(error.exit_code if isinstance(error, HpcSrError) else 1)


def all_or_none(work: Callable[[], R], comm: Comm) -> R:
    """Return what this rank's work gives, if no rank's raises; else raise on all, each its own error or the first.

    Collective; the work is not. So ranks that share a piece of work can give it up, and go on with the next.
    """
    failure: Exception | None = None
    try:
        result = work()
    except Exception as error:
        failure = error
    portable = failure if failure is None or isinstance(failure, HpcSrError) else _as_ours(failure)
    first = next((told for told in comm.gather(portable) if told is not None), None)
    if failure is not None:
        raise failure
    if first is not None:
        raise first
    return result


def _as_ours(error: Exception) -> HpcSrError:
    """Return an error as one that can be sent to other ranks."""
    return HpcSrError(f"unexpected {type(error).__name__} ({error})", cure="see the log of the rank that tells more")


def end_at_once(code: int, message: str) -> NoReturn:
    """End this process, whatever its other threads do, with a last message if there is one."""
    if message:
        say_unbuffered(message)
    os._exit(code)


def say_unbuffered(message: str) -> None:
    """Write to standard error, with no lock that others may hold; nobody may be there to read.

    On a terminal the message takes the place of a progress bar, and the cursor that the bar has hidden is shown.
    """
    with suppress(OSError):
        begin = "\r\x1b[K\x1b[?25h" if os.isatty(2) else ""
        os.write(2, f"{begin}{message}\n".encode())
