"""What a run says: rank-aware logs, JSON lines, progress bars that are quiet when nobody watches."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rich import progress as bars
from rich.console import Console

from hpc_sr.disk import is_there, read_file, telling, write_atomically
from hpc_sr.errors import HpcSrError, OutputError

T = TypeVar("T")
logger = logging.getLogger("hpc_sr")
#: A line of metrics has 300 bytes: a hundred million of them.
_MOST_BYTES = 32 << 30


def told_of(error: Exception, where: object) -> str:
    """Log an error that ends one piece of work and not the others, and return its line for the end's message.

    What is no error of ours is logged with its traceback.
    """
    if isinstance(error, HpcSrError):
        logger.error("error: %s", error)
        return error.finding
    logger.error("error: %s: unexpected %s (%s)", where, type(error).__name__, error, exc_info=error)
    return f"{where}: unexpected {type(error).__name__} ({error})"


def setup_logging(rank: int = 0, world_size: int = 1, directory: str | Path | None = None) -> None:
    """Send this process's log to standard error (rank 0 only) and, if given, to `directory`/rank_NNNN.log."""
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    who = f" [{rank}/{world_size}]" if world_size > 1 else ""
    form = logging.Formatter(f"%(asctime)s{who} %(message)s", datefmt="%H:%M:%S")
    if rank == 0:
        logger.addHandler(logging.StreamHandler(_CurrentStderr()))
    if directory is not None:
        with telling(directory):
            Path(directory).mkdir(parents=True, exist_ok=True)
            logger.addHandler(logging.FileHandler(Path(directory) / f"rank_{rank:04d}.log", encoding="utf-8"))
    for handler in logger.handlers:
        handler.setFormatter(form)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


@contextmanager
def speaking() -> Iterator[None]:
    """Print in the block on whatever standard output is: letters that a terminal has not are written as escapes.

    Raises OutputError where what was printed cannot be written, on a full disk say.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
    except OSError:
        _try_stdout("\n")  # raises if it was standard output that refused
        raise
    except SystemExit:
        _try_stdout()
        raise
    _try_stdout()


def _try_stdout(text: str = "") -> None:
    try:
        if sys.stdout is not None:
            sys.stdout.write(text)
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it ends
        raise OutputError(
            f"cannot be written ({error.strerror})", where="standard output", cure="print to another place"
        ) from error


class _CurrentStderr:
    """Standard error as it is now: a progress bar swaps it, so that log lines appear above the bar."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def track(items: Iterable[T], what: str, total: int | None = None, shown: bool = True) -> Iterator[T]:
    """Yield the items, with a progress bar on standard error if that is a terminal and `shown` is true."""
    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield from items
        return
    with _bar(console, bars.MofNCompleteColumn()) as bar:
        yield from bar.track(items, total=total, description=what)


class Progress:
    """How far a few large pieces of work are, measured by their bytes; use as a context manager.

    On a terminal a bar on standard error, elsewhere a log line a finished piece. `shown` false says nothing.
    """

    def __init__(self, total_bytes: int, count: int, what: str, shown: bool):
        self._total_bytes, self._count, self._what, self._shown = total_bytes, count, what, shown
        self._done_bytes = self._done = 0
        console = Console(stderr=True)
        counted = bars.TextColumn("{task.fields[done]}/{task.fields[count]}"), bars.TaskProgressColumn()
        self._bar = _bar(console, *counted) if shown and console.is_terminal else None

    def __enter__(self) -> Progress:
        self._began = time.monotonic()
        if self._bar is not None:
            self._bar.start()
            self._bar.add_task(self._what, total=max(self._total_bytes, 1), done=0, count=self._count)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, size_bytes: int, line: str) -> None:
        """Count one more piece of so many bytes as finished; `line` says what became of it."""
        self._done += 1
        self._done_bytes += size_bytes
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done_bytes, done=self._done)
            logger.info("%s", line)
        elif self._shown:
            logger.info("%d/%d %s (%s: %s", self._done, self._count, self._what, self._estimate(), line)

    def _estimate(self) -> str:
        if self._done == self._count:
            return "100 %)"
        share = self._done_bytes / self._total_bytes if self._total_bytes else self._done / self._count
        if not share:
            return "0 %)"
        left_s = (time.monotonic() - self._began) * (1 - share) / share
        return f"{100 * share:.0f} %), {_about(left_s)} left"


def _about(seconds: float) -> str:
    """Return a duration as people say it: no digits that an estimate does not have."""
    for unit_s, name in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * unit_s:
            return f"about {seconds / unit_s:.0f} {name}"
    return f"about {seconds:.0f} s"


def _bar(console: Console, *counters: bars.ProgressColumn) -> bars.Progress:
    columns = bars.TextColumn("{task.description}", markup=False), bars.BarColumn(), *counters
    clocks = bars.TimeElapsedColumn(), bars.TimeRemainingColumn()
    return bars.Progress(*columns, *clocks, console=console, transient=True)


class JsonLines:
    """A file of one JSON object a line, kept in order of `step` when a run is resumed from an earlier one."""

    def __init__(self, path: str | Path, resume_step: int = 0):
        """Open `path` for appending; lines written after `resume_step` by a run that died are dropped.

        Raises OutputError if it cannot be read or written.
        """
        self._path = Path(path)
        with telling(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            kept = [line for line in read_json_lines(self._path) if not _is_after(line, resume_step)]
            write_atomically(self._path, "".join(json.dumps(line) + "\n" for line in kept))
            self._file = self._path.open("a", encoding="utf-8")

    def write(self, **values: Any) -> None:
        """Append one line; it is on its way to the disk when this returns. Raises OutputError if the disk is full."""
        with telling(self._path):
            self._file.write(json.dumps(values) + "\n")
            self._file.flush()

    def close(self) -> None:
        with telling(self._path):
            self._file.close()


def _is_after(line: dict[str, Any], step: int) -> bool:
    written = line.get("step", 0)
    return isinstance(written, (int, float)) and written > step


def read_json_lines(path: str | Path) -> list[dict[str, Any]]:
    """Return the objects in a JSON-lines file, none if there is no file.

    Lines that are none are left out with a warning; so is a torn last line, which a kill leaves, without one.
    Raises OutputError if the file cannot be read.
    """
    if not is_there(path):
        return []
    lines, bad = [], []
    *whole, torn = read_file(path, OutputError, "move it away", _MOST_BYTES).split(b"\n")
    for number, text in enumerate([*whole, torn], start=1):
        try:
            line = json.loads(text.decode("utf-8"))
        except (ValueError, RecursionError):
            line = None
        if isinstance(line, dict):
            lines.append(line)
        elif number <= len(whole):
            bad.append(number)
    if bad:
        logger.warning("%s: line %s cannot be read and is left out", path, ", ".join(map(str, bad)))
    return lines
