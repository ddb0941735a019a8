"""Signals that ask a process to stop, kept until the ranks agree. Free of torch: they may come while it loads."""

from __future__ import annotations

import signal

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopFlag:
    """Whether a signal has asked this process to stop."""

    def __init__(self) -> None:
        self.requested = False


def keep_signals() -> StopFlag:
    """Return a flag that SIGTERM and SIGUSR1 (a batch system's warning) raise from now on, instead of ending us."""
    flag = StopFlag()

    def note(number: int, frame: object) -> None:
        flag.requested = True

    for number in _SIGNALS:
        signal.signal(number, note)
    return flag


def ignore_signals() -> None:
    """Let SIGTERM and SIGUSR1 do nothing until the process ends: one that comes late must not make it look killed.

    Python gives back handlers of its own when it finalises, but not this.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
