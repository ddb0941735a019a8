"""What a run writes down while it trains: metrics.jsonl, TensorBoard events and log lines. Rank 0 writes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import torch
from torch.utils.tensorboard import SummaryWriter

from hpc_sr.comm.communicator import Comm
from hpc_sr.logs import JsonLines, logger
from hpc_sr.train.schedule import Schedule

T = TypeVar("T")


class Diary:
    """Means of the loss and of the time since the last line. Use as a context manager; `log` is collective."""

    def __init__(self, run_directory: Path, comm: Comm, *, global_batch_size: int, resume_step: int):
        self._comm, self._global_batch_size = comm, global_batch_size
        self._lines: JsonLines | None = None
        if comm.rank == 0:
            self._lines = JsonLines(run_directory / "metrics.jsonl", resume_step)
            self._events = SummaryWriter(str(run_directory / "tensorboard"), purge_step=resume_step + 1)
        self._reset()

    def __enter__(self) -> Diary:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._lines is not None:
            self._lines.close()
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

    def add(self, loss: torch.Tensor) -> None:
        """Count one step and its loss, without reading it from the device."""
        self.loss_sum = self.loss_sum + loss
        self._steps += 1

    def log(self, step: int, samples: int, schedule: Schedule) -> dict[str, float]:
        """Write a line and return its means over ranks."""
        mean_loss = float(self.loss_sum) / self._steps  # waits for the device, so the time below is the work's
        took_s = time.perf_counter() - self._began
        terms = self._comm.mean({"loss": mean_loss, "data_wait_share": self._waited_s / took_s})
        terms["samples_per_s"] = self._steps * self._global_batch_size / took_s
        rate = schedule.learning_rate(step - 1)
        self._write("train", step, samples, {**terms, "learning_rate": rate, "seconds": took_s})
        left_s = (schedule.total_steps - step) * took_s / self._steps
        logger.info(
            "step %d/%d  loss %.5f  lr %.3g  %.0f samples/s  data wait %.0f%%  left %s", step, schedule.total_steps,
            terms["loss"], rate, terms["samples_per_s"], 100 * terms["data_wait_share"], _clock(left_s),
        )  # fmt: skip
        self._reset()
        return terms

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
        for name, value in values.items():
            self._events.add_scalar(f"{kind}/{name}", value, step)

    def _reset(self) -> None:
        self.loss_sum: torch.Tensor | float = 0.0
        self._steps, self._waited_s = 0, 0.0
        self._began = time.perf_counter()


def _clock(seconds: float) -> str:
    minutes, s = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{s:02d}"
