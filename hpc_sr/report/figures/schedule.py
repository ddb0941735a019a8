"""A figure of a learning-rate schedule: the rate over samples, for several numbers of ranks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from hpc_sr.disk import check_writable, write_atomically
from hpc_sr.errors import RecipeError
from hpc_sr.report.figures.course import INK, STYLE, WIDE, as_png

#: Ranks that are drawn besides those asked for.
_ALSO = (1, 4, 16, 64)
_POINTS = 4000
_SIZE_INCH = (9.0, 5.0)
#: A logarithmic axis shows rates down to this share of the smallest peak.
_LOWEST_SHARE = 0.01


class Schedule(Protocol):
    """What is drawn; positions are counts of samples of all ranks."""

    @property
    def options(self) -> Any: ...

    @property
    def peak_lr(self) -> float: ...

    @property
    def global_batch_size(self) -> int: ...

    def steps_left(self, samples: int = 0) -> int: ...

    def learning_rate(self, samples: int) -> float: ...

    def describe(self) -> str: ...


def draw_schedules(name: str, schedule_of: Callable[[int], Schedule], ranks: int, path: Path) -> None:
    """Draw the learning rate over samples on these ranks and on some other numbers of them; write it as PNG.

    `schedule_of` gives the schedule of a number of ranks. Where it raises RecipeError, as ranks that cannot share a
    fixed global batch do, nothing is drawn, unless it is the number asked for. Numbers of ranks with one global batch
    share a curve. A plateau depends on what validation will say: drawn is its upper bound. Raises OutputError.
    """
    check_writable(path)
    chosen, schedules = schedule_of(ranks), {}
    for number in sorted({ranks, *_ALSO}):
        try:
            schedules[number] = schedule_of(number)
        except RecipeError:
            continue
    curves: dict[tuple[int, float], list[int]] = {}
    for number, schedule in schedules.items():
        curves.setdefault((schedule.global_batch_size, schedule.peak_lr), []).append(number)
    with rc_context(STYLE):
        figure = Figure(figsize=_SIZE_INCH, layout="constrained", dpi=150)
        axes = figure.add_subplot()
        for place, together in enumerate(curves.values()):
            colour = colormaps["viridis"](0.85 * place / max(1, len(curves) - 1))
            _draw(axes, schedules[together[0]], together, colour, is_chosen=ranks in together)
        _scale_rates(axes, [peak for _, peak in curves])
        _mark(axes, chosen)
        figure.suptitle(f"{name} on {_ranks([ranks])}", x=0.01, ha="left", fontsize=12)
        axes.set_title(chosen.describe(), fontsize=8, loc="left")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), reverse=True, handlelength=1.4, labelspacing=0.9)
        picture = as_png(figure)
    write_atomically(path, picture)


def _draw(axes: Axes, schedule: Schedule, together: list[int], colour: Any, is_chosen: bool) -> None:
    samples = _positions(schedule)
    rates = [schedule.learning_rate(int(position)) for position in samples]
    label = (
        f"{_ranks(together)}: peak {schedule.peak_lr:.3g}\n"
        f"batch {schedule.global_batch_size:,}, {schedule.steps_left():,} steps"
    )
    width, layer = (2.6, 3) if is_chosen else (1.3, 2)
    axes.plot(samples, rates, color=colour, linewidth=width, zorder=layer, label=label)


def _scale_rates(axes: Axes, peaks: list[float]) -> None:
    """Make the axis of rates logarithmic if peaks are far apart: equal factors are then equal heights."""
    if max(peaks) <= WIDE * min(peaks):
        axes.set_ylim(0, 1.1 * max(peaks))
        return
    lowest = min(float(np.min(line.get_ydata())) for line in axes.lines)
    axes.set_yscale("log")
    axes.set_ylim(max(0.7 * lowest, _LOWEST_SHARE * min(peaks)), 1.5 * max(peaks))


def _positions(schedule: Schedule) -> np.ndarray:
    """Return where to look at the rate: evenly spread starts of updates, and those on both sides of each jump."""
    size, last = schedule.global_batch_size, schedule.steps_left() - 1
    steps = np.unique(np.linspace(0, last, _POINTS).astype(np.int64))
    every = schedule.options.step_every_samples
    if every is not None:
        first_after = -(-np.arange(every, schedule.options.total_samples, every) // size)
        steps = np.union1d(steps, np.clip(np.concatenate([first_after - 1, first_after]), 0, last))
    warm = -(-schedule.options.warmup_samples // size)
    return size * np.union1d(steps, np.clip([warm - 1, warm], 0, last))


def _mark(axes: Axes, chosen: Schedule) -> None:
    """Label the axes, the warm-up, and what a plateau's line means."""
    options = chosen.options
    axes.set(xlabel="samples of all ranks", ylabel="learning rate", xlim=(0, options.total_samples))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if options.warmup_samples:
        axes.axvspan(0, options.warmup_samples, color=INK, alpha=0.08, linewidth=0)
        axes.annotate(
            "warm-up",
            (options.warmup_samples, 0.02),
            xycoords=axes.get_xaxis_transform(),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=8,
        )
    if options.decay == "plateau":
        text = f"upper bound: × {options.step_factor:g} whenever validation has not improved for a while"
        axes.annotate(text, (0.5, 0.02), xycoords="axes fraction", ha="center", fontsize=8)


def _ranks(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers)) + (" rank" if numbers == [1] else " ranks")
