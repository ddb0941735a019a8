"""What a run writes down while it trains: metrics.jsonl, TensorBoard events and log lines. Rank 0 writes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import torch
from torch.utils.tensorboard import SummaryWriter

from hpc_sr.comm.communicator import Comm
from hpc_sr.errors import OutputError
from hpc_sr.logs import JsonLines, logger
from hpc_sr.train.schedule import Schedule
from hpc_sr.train.step import Update

T = TypeVar("T")


class Diary:
    """Means of the loss and of the time since the last line. Use as a context manager; `log` is collective.

    Time is waiting for data, waiting for the exchange of gradients beyond one's own backward pass, or computing.
    Steps whose update was left out do not count in the loss. Raises OutputError where the disk takes no more.
    """

    def __init__(self, run_directory: Path, comm: Comm, schedule: Schedule, *, resume_step: int):
        self._comm, self._schedule = comm, schedule
        self._lines: JsonLines | None = None
        if comm.rank == 0:
            self._lines = JsonLines(run_directory / "metrics.jsonl", resume_step)
            self._board = run_directory / "tensorboard"
            with _telling(self._board):
                self._events = SummaryWriter(str(self._board), purge_step=resume_step + 1)
        self._reset()

    def __enter__(self) -> Diary:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._lines is None:
            return
        # What ended the block is what people have to read: a full disk is told by whatever finds it first.
        hidden = suppress(OutputError) if error is not None else nullcontext()
        with hidden, _telling(self._board), closing(self._lines):
            self._events.close()

    def waited_for(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items, counting the time until each is there as time spent waiting for data."""
        iterator = iter(items)
        while True:
            began = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            self._waited_s += time.perf_counter() - began
            yield item

    def add(self, update: Update) -> None:
        """Count one step, without reading it from the device."""
        zero = torch.zeros_like(update.loss)
        kept = [torch.where(update.finite, value, zero) for value in (update.loss, update.gradient_norm)]
        self._sums = self._sums + torch.stack([*kept, update.finite.float()])
        self._steps += 1

    def wait(self) -> None:
        """Return when the device has done all steps that were added."""
        self._sums.tolist()

    def log(self, step: int, samples: int, rate: float) -> None:
        """Write a line of means over ranks; `rate` is the learning rate of the last update."""
        loss, norm, kept = self._sums.tolist()  # waits for the device, so the time below is the work's
        took_s = time.perf_counter() - self._began
        shares = {
            "data_wait_share": self._waited_s / took_s,
            "communication_share": (self._comm.waited_s - self._exchanged_s) / took_s,
        }
        mean_loss, mean_norm = (value / kept if kept else float("nan") for value in (loss, norm))
        terms = self._comm.mean({"loss": mean_loss, "gradient_norm": mean_norm, **shares})
        terms["compute_share"] = 1.0 - terms["data_wait_share"] - terms["communication_share"]
        terms["samples_per_s"] = self._steps * self._schedule.global_batch_size / took_s
        more = {"learning_rate": rate, "skipped": self._steps - kept, "seconds": took_s}
        self._write("train", step, samples, {**terms, **more})
        steps_left = self._schedule.steps_left(samples)
        logger.info(
            "step %d/%d  loss %.5f  lr %.3g  %.0f samples/s  data wait %.0f%%  communication %.0f%%  left %s",
            step,
            step + steps_left,
            terms["loss"],
            rate,
            terms["samples_per_s"],
            100 * terms["data_wait_share"],
            100 * terms["communication_share"],
            _clock(steps_left * took_s / self._steps),
        )
        self._reset()

    def validation(self, step: int, samples: int, scores: dict[str, float]) -> None:
        """Write a validation line; the time it took does not count as training."""
        self._write("validation", step, samples, scores)
        ours, bicubic = scores["rmse"], scores["rmse_bicubic"]
        logger.info("validation: RMSE %.2f, bicubic %.2f (ratio %.3f)", ours, bicubic, ours / bicubic)
        self._reset()

    def _write(self, kind: str, step: int, samples: int, values: dict[str, float]) -> None:
        if self._lines is None:
            return
        self._lines.write(kind=kind, step=step, samples=samples, **values)
        with _telling(self._board):
            for name, value in values.items():
                self._events.add_scalar(f"{kind}/{name}", value, step)

    def _reset(self) -> None:
        self._sums = torch.zeros(3, device=self._comm.device)
        self._steps, self._waited_s, self._exchanged_s = 0, 0.0, self._comm.waited_s
        self._began = time.perf_counter()


@contextmanager
def _telling(where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error})", where=where, cure="free disk space, then run again to resume"
        ) from error


def _clock(seconds: float) -> str:
    minutes, s = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{s:02d}"
