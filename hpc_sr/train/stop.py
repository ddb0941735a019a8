"""Signals that ask a process to stop: they end it while nothing is there to save, then wait for the ranks to agree.

Free of torch: they may come while it loads.
"""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hpc_sr.comm.failure import end_at_once, say_unbuffered
from hpc_sr.comm.signals import listen

#: EX_TEMPFAIL, "try again", and what a shell says of a process that SIGINT has ended.
_STOPPED, _INTERRUPTED = 75, 128 + signal.SIGINT
#: A terminal and a launcher may both pass on one press of a key.
_SAME_PRESS_S = 0.5


class StopFlag:
    """Whether a signal has asked this process to stop. By itself it hears of none: see keep_signals."""

    def __init__(self) -> None:
        self.requested = False
        self._kept = False
        self._interrupted_s: float | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """From here on a signal raises the flag, which the block looks at, and no longer ends the process.

        So it stays after the block, when all is saved, unless the block raises.
        """
        self._kept = True
        try:
            yield
        except BaseException:
            self._kept = False
            raise

    def hear(self, number: int) -> None:
        """Do what a signal asks for: end the process at once, or raise the flag."""
        name = signal.Signals(number).name
        if number == signal.SIGHUP:
            _leave_dead_terminal()
        if not self._kept:
            end_at_once(_STOPPED, f"stopped by {name}, with nothing to save yet: run again to go on")
        if number == signal.SIGINT:
            now_s = time.monotonic()
            if self._interrupted_s is None:
                self._interrupted_s = now_s
                say_unbuffered(f"{name}: stops after a checkpoint; once more ends it at once")
            elif now_s - self._interrupted_s > _SAME_PRESS_S:
                end_at_once(_INTERRUPTED, f"ended by a second {name}: run again to go on from the newest checkpoint")
        self.requested = True


def keep_signals() -> StopFlag:
    """Return a flag that hears from now on of all signals that ask a process to stop, instead of their ending it."""
    flag = StopFlag()
    listen(flag.hear)
    return flag


def _leave_dead_terminal() -> None:
    """Send to nowhere what goes to a terminal that has hung up: writing to it is an error, which would end the run."""
    with open(os.devnull, "wb") as nowhere:
        for output in (1, 2):
            with suppress(OSError):  # it may be closed
                if stat.S_ISCHR(os.fstat(output).st_mode) and not os.isatty(output):
                    os.dup2(nowhere.fileno(), output)
