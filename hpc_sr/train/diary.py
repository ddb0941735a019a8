"""What a run writes down while it trains: metrics.jsonl, TensorBoard events and log lines. Rank 0 writes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from hpc_sr.comm.communicator import Comm
from hpc_sr.errors import OutputError
from hpc_sr.extras import has, install
from hpc_sr.logs import JsonLines, logger
from hpc_sr.train.player import Update
from hpc_sr.train.schedule import Schedule

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

T = TypeVar("T")


class Diary:
    """Means of the losses and of the time since the last line. Use as a context manager; `log` is collective.

    `waited_s` adds up how long this rank has waited for data.

    Time is waiting for data, waiting for the exchange of gradients beyond one's own backward pass, or computing.
    Steps whose update was left out do not count in the loss. Raises OutputError where the disk takes no more.
    """

    def __init__(self, run_directory: Path, comm: Comm, schedule: Schedule, *, resume_step: int):
        self._comm, self._schedule = comm, schedule
        self.waited_s = 0.0
        self._lines: JsonLines | None = None
        self._events: SummaryWriter | None = None
        if comm.rank == 0:
            self._lines = JsonLines(run_directory / "metrics.jsonl", resume_step)
            self._board = run_directory / "tensorboard"
            with _telling(self._board):
                self._events = _events(self._board, resume_step + 1)
        self._reset()

    def __enter__(self) -> Diary:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._lines is None:
            return
        # What ended the block is what people have to read: a full disk is told by whatever finds it first.
        hidden = suppress(OutputError) if error is not None else nullcontext()
        with hidden, _telling(self._board), closing(self._lines):
            if self._events is not None:
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
            self.waited_s += time.perf_counter() - began
            yield item

    def add(self, update: Update, rate: float) -> None:
        """Count one step, made at this learning rate, without reading it from the device."""
        values = torch.stack([*update.terms.values(), torch.ones_like(update.terms["loss"])])
        kept = torch.where(update.finite, values, torch.zeros_like(values))
        names = tuple(update.terms)
        self._sums[names] = self._sums[names] + kept if names in self._sums else kept
        self._rate = rate
        self._steps += 1

    def wait(self) -> None:
        """Return when the device has done all steps that were added."""
        for sums in self._sums.values():
            sums.tolist()

    def log(self, step: int, samples: int) -> None:
        """Write a line of means over ranks, with the learning rate of the last update. There must be an update."""
        assert self._sums
        means, kept = _means({names: sums.tolist() for names, sums in self._sums.items()})
        # Reading them waited for the device, so the time below is the work's.
        took_s = time.perf_counter() - self._began
        shares = {
            "data_wait_share": (self.waited_s - self._logged_s) / took_s,
            "communication_share": (self._comm.waited_s - self._exchanged_s) / took_s,
        }
        terms = self._comm.mean({**means, **shares})
        terms["compute_share"] = 1.0 - terms["data_wait_share"] - terms["communication_share"]
        terms["samples_per_s"] = self._steps * self._schedule.global_batch_size / took_s
        more = {"learning_rate": self._rate, "skipped": self._steps - kept, "seconds": took_s}
        self._write("train", step, samples, {**terms, **more})
        steps_left = self._schedule.steps_left(samples)
        logger.info(
            "step %d/%d  loss %.5f  lr %.3g  %.0f samples/s  data wait %.0f%%  communication %.0f%%  left %s",
            step,
            step + steps_left,
            terms["loss"],
            self._rate,
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
        # At scale 1 bicubic is what came in, and that may be the reference.
        ratio = f" (ratio {ours / bicubic:.3f})" if bicubic else ""
        logger.info("validation: RMSE %.2f, bicubic %.2f%s", ours, bicubic, ratio)
        self._reset()

    @property
    def shows_pictures(self) -> bool:
        """Whether pictures have a place: on the rank that writes, with TensorBoard. Making them takes time."""
        return self._events is not None

    def pictures(self, step: int, pictures: dict[str, np.ndarray]) -> None:
        """Show pictures (3, h, w), uint8, by name beside the curves of validation. For the rank that writes."""
        if self._events is None:
            return
        with _telling(self._board):
            for name, picture in pictures.items():
                self._events.add_image(f"validation/{name}: input, estimate, reference", picture, step)

    def _write(self, kind: str, step: int, samples: int, values: dict[str, float]) -> None:
        if self._lines is None:
            return
        self._lines.write(kind=kind, step=step, samples=samples, **values)
        if self._events is None:
            return
        with _telling(self._board):
            for name, value in values.items():
                if value is not None:  # a score that does not exist, as SSIM of patches smaller than its window
                    self._events.add_scalar(f"{kind}/{name}", value, step)

    def _reset(self) -> None:
        # By the terms' names: others come in while a run goes on.
        self._sums: dict[tuple[str, ...], torch.Tensor] = {}
        self._steps, self._logged_s, self._exchanged_s = 0, self.waited_s, self._comm.waited_s
        self._began = time.perf_counter()


def _means(sums: dict[tuple[str, ...], list[float]]) -> tuple[dict[str, float], float]:
    """Return each term's mean over the steps that had it, and how many steps were kept; the last number counts them."""
    totals: dict[str, tuple[float, float]] = {}
    for names, (*values, steps) in sums.items():
        for name, value in zip(names, values, strict=True):
            total, count = totals.get(name, (0.0, 0.0))
            totals[name] = total + value, count + steps
    means = {name: total / count if count else float("nan") for name, (total, count) in totals.items()}
    return means, totals["loss"][1]


def _events(board: Path, next_step: int) -> SummaryWriter | None:
    """Return what writes TensorBoard's events, those from `next_step` on anew; None without the library."""
    if not has("tensorboard"):
        logger.info("no events for TensorBoard are written beside metrics.jsonl: %s", install("tensorboard"))
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(board), purge_step=next_step)


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
