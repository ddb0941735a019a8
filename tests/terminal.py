"""A command in a terminal of its own, as a person would start it: what it says, and a press of Ctrl-C."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

PATIENCE_S = 600.0


class Terminal:
    """A running command whose group is in the foreground of a new terminal. `end` waits for it."""

    def __init__(self, command: Sequence[object], env: Mapping[str, str] | None = None):
        self._screen, theirs = pty.openpty()
        # In a session of its own, with the terminal as its controlling one, as a login shell would have it.
        words = ["setsid", "--ctty", "--wait", *map(str, command)]
        self.process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=env)
        os.close(theirs)
        os.set_blocking(self._screen, False)
        self._said = b""

    def until(self, true: Callable[[], object]) -> None:
        """Return as soon as something is true, or the command has ended; what it prints is read meanwhile."""
        deadline = time.monotonic() + PATIENCE_S
        while not true() and self.process.poll() is None:
            assert time.monotonic() < deadline, self.said
            self._read()
            time.sleep(0.002)

    def until_it_hears(self) -> None:
        """Return once the command has handlers for SIGTERM of its own."""
        self.until(lambda: _caught(self.process.pid) >> (signal.SIGTERM - 1) & 1)

    def press_ctrl_c(self) -> None:
        """Send SIGINT to the whole foreground group, by the terminal itself."""
        os.write(self._screen, b"\x03")

    def end(self) -> tuple[int, str]:
        """Return the exit code and all that was printed, once the command has ended by itself."""
        self.until(lambda: False)
        self._read()
        os.close(self._screen)
        return self.process.wait(), self.said

    @property
    def said(self) -> str:
        return self._said.decode(errors="replace")

    def _read(self) -> None:
        with suppress(BlockingIOError, OSError):
            while heard := os.read(self._screen, 1 << 16):
                self._said += heard


def _caught(process: int) -> int:
    """Return the signals that a process has handlers for, a bit each."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return int(line.split()[1], 16)
    return 0
