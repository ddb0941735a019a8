"""Signals that ask a process to end, heard by a thread.

The main thread may wait for other ranks, or compute, in compiled code, where Python's own handlers have no turn. Free
of torch: signals may come while it loads.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable, Sequence

from hpc_sr.comm.failure import end_at_once
from hpc_sr.comm.launchers import describe_launch
from hpc_sr.errors import LaunchError

#: All that ask a process to end: those of batch systems (TERM, USR1, USR2, XCPU) and of terminals (INT, HUP).
ENDING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU, signal.SIGINT, signal.SIGHUP)


def listen(hear: Callable[[int], None], signals: Sequence[signal.Signals] = ENDING) -> None:
    """Call `hear` from a thread with the number of each such signal from now on, instead of its ending the process.

    What the process was started to ignore (nohup, a shell's background) stays ignored.
    """
    ears, mouth = os.pipe()
    os.set_blocking(mouth, False)
    _close(signal.set_wakeup_fd(mouth, warn_on_full_buffer=False))
    for number in signals:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: None)  # a handler of Python's, so that the pipe is written to
    threading.Thread(target=_listen, args=(ears, hear, signals), name="signals", daemon=True).start()


def ignore_signals() -> None:
    """Let these signals do nothing until the process ends: one that comes late must not make it look killed.

    Python gives back handlers of its own when it finalises, but not this.
    """
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    _close(signal.set_wakeup_fd(-1))


def end_on_signals() -> None:
    """Let SIGINT and SIGTERM end this process at once from now on, with a line and the code 130 or 143.

    For commands that keep what is finished on the disk: there is nothing to save. A terminal and launchers tell all
    ranks, so that only the first one speaks.
    """
    speaks = _is_first()

    def end(number: int) -> None:
        name = signal.Signals(number).name
        end_at_once(128 + number, f"ended by {name}: the same command again goes on" if speaks else "")

    listen(end, (signal.SIGINT, signal.SIGTERM))
    atexit.register(ignore_signals)  # all is done then, and the code is known


def _is_first() -> bool:
    try:
        return describe_launch(os.environ).rank == 0
    except LaunchError:  # told where ranks meet
        return True


def _listen(ears: int, hear: Callable[[int], None], signals: Sequence[signal.Signals]) -> None:
    with os.fdopen(ears, "rb", buffering=0) as stream:
        while heard := stream.read(1):
            if heard[0] in signals:
                hear(heard[0])


def _close(mouth: int) -> None:
    if mouth != -1:
        os.close(mouth)
