"""Where the time of a few steps goes: operators, kernels, exchanges, as files that people can look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import torch
from torch.profiler import ProfilerActivity, profile

from hpc_sr.comm.communicator import Comm
from hpc_sr.disk import telling, write_atomically
from hpc_sr.logs import logger

T = TypeVar("T")
#: Steps that go before: they compile, allocate and fill what reads ahead. Then the steps that are recorded.
BEFORE_STEPS, STEPS = 10, 10
_OPERATORS = 30


def profiled(updates: Iterable[T], folder: Path, comm: Comm) -> Iterator[T]:
    """Yield the updates, and record ten of them, from the eleventh on, into the folder. Every rank does the same.

    trace.json.gz is rank 0's trace, for https://ui.perfetto.dev; operators.txt its operators by the time they take
    themselves; horovod.json the exchanges as Horovod saw them, where it is the backend. A run that ends before they
    are full leaves nothing. Recording slows these steps down.
    """
    with ExitStack() as recording:
        for number, update in enumerate(updates, start=1):
            yield update
            if number == BEFORE_STEPS:
                recording.enter_context(comm.recording(folder))
                recorder = recording.enter_context(profile(activities=_activities(comm))) if comm.rank == 0 else None
            elif number == BEFORE_STEPS + STEPS:
                recording.close()
                if recorder is not None:
                    _write(recorder, folder, comm.device.type)


def _activities(comm: Comm) -> list[ProfilerActivity]:
    return [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if comm.device.type == "cuda" else [])]


def _write(recorder: torch.profiler.profile, folder: Path, device: str) -> None:
    with telling(folder):
        folder.mkdir(parents=True, exist_ok=True)
        recorder.export_chrome_trace(str(folder / "trace.json.gz"))
        table = recorder.key_averages().table(sort_by=f"self_{device}_time_total", row_limit=_OPERATORS)
        write_atomically(folder / "operators.txt", table + "\n")
    logger.info("%d steps were recorded: %s, trace.json.gz beside it", STEPS, folder / "operators.txt")
