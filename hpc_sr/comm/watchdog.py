"""An end to waiting: a process that sits in one collective for too long ends itself, with a message."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Watchdog:
    """A thread that ends the process if a watched block lasts longer than `limit_s`.

    Horovod over MPI waits for ever for a rank whose host has lost its network: its own limit (stall shutdown) is
    looked at between negotiations, and it hangs inside one. The thread counts its own naps, not a clock: the time for
    which a whole job was suspended is not held against it. A watched block only writes a reference.
    """

    def __init__(self, who: str, limit_s: float):
        self._who, self._limit_s = who, limit_s
        self._block: list[str] | None = None  # a list: every block is an object of its own
        self._ended = threading.Event()
        threading.Thread(target=self._look, name="watchdog", daemon=True).start()

    @contextmanager
    def over(self, what: str) -> Iterator[None]:
        """Watch the block; `what` names it in the message."""
        outer, self._block = self._block, [what]
        try:
            yield
        finally:
            self._block = outer

    def end(self) -> None:
        """Watch no longer."""
        self._ended.set()

    def _look(self) -> None:
        nap_s = min(1.0, self._limit_s / 10)
        seen, naps = None, 0
        while not self._ended.wait(nap_s):
            block = self._block
            naps = naps + 1 if block is not None and block is seen else 0
            seen = block
            if block is not None and naps * nap_s >= self._limit_s:
                self._bark(block[0])

    def _bark(self, what: str) -> None:
        message = (
            f"[{self._who}] has waited {self._limit_s:g} s in {what}: another rank is lost or far behind\n"
            "  cure: look at the other ranks' last lines; run again to go on from the newest checkpoint; "
            "if the ranks are only slow, raise comm.stall_s"
        )
        os.write(2, f"{message}\n".encode())  # unbuffered, and no lock that others may hold
        os._exit(1)
