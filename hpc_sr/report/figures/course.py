"""Figures of a run's course: SVG text, one small plot each, so that a page can lay them out for any width."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter, NullLocator, PercentFormatter

from hpc_sr.report.figures.thinning import averaged, thinned
from hpc_sr.report.run_directory import TIME_PARTS

OURS, BASELINE, INK, RULE = "#0b6e8f", "#b4552d", "#3d4650", "#d9dee3"
_SIZE_INCH = (4.8, 2.7)
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "axes.axisbelow": True,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "text.parse_math": False,  # names are shown as they are, dollars included
    "svg.hashsalt": "hpc_sr",
    "svg.fonttype": "none",
}

#: Parts of a rank's time, from the bottom up, with their colours.
TIME_COLOURS = dict(zip(TIME_PARTS, ("#8fb8c7", "#d98a5f", "#5c4b8a"), strict=True))
#: An axis is logarithmic where the values span more than this ratio.
WIDE = 4.0

Line = dict[str, Any]


def curves(train: list[Line], validation: list[Line], resumed: list[int]) -> dict[str, str]:
    """Return the plots that the metric lines allow as SVG text, by caption.

    Thin lines stand where a run was `resumed`.
    """
    plots = {}
    if train:
        plots["Training loss"] = _plot("loss", [("loss", OURS, "-", _points(train, "loss"))], resumed, wide=True)
    plots |= _duel(train, resumed)
    if validation:
        plots["Validation RMSE, reflectance × 10 000"] = _plot(
            "RMSE",
            [
                ("bicubic", BASELINE, "--", _points(validation, "rmse_bicubic")),
                ("network", OURS, "o-", _points(validation, "rmse")),
            ],
            resumed,
            wide=True,
        )
    if train:
        rates, speeds = _points(train, "learning_rate"), _points(train, "samples_per_s")
        plots["Learning rate"] = _plot("learning rate", [("rate", OURS, "-", rates)], resumed)
        plots["Throughput, samples per second over all ranks"] = _plot(
            "samples / s", [("speed", OURS, "-", speeds)], resumed
        )
    split = [line for line in train if all(is_finite(line.get(f"{part}_share")) for part in TIME_PARTS)]
    if split:
        plots["Where a rank's time goes"] = _time_split(split)
    return plots


def _duel(train: list[Line], resumed: list[int]) -> dict[str, str]:
    """Return the plots of a run that has a critic: what it thinks, and what moves both networks."""
    if not any("critic_loss" in line for line in train):
        return {}

    def both(label: str, ours: tuple[str, str], critics: tuple[str, str]) -> str:
        series = [
            (ours[0], OURS, "-", _points(train, ours[1])),
            (critics[0], BASELINE, "-", _points(train, critics[1])),
        ]
        return _plot(label, series, resumed)

    return {
        "The critic's mean scores": both(
            "score", ("estimates", "critic_score_fake"), ("references", "critic_score_real")
        ),
        "Adversarial losses": both("loss", ("generator, weighted", "adversarial"), ("critic", "critic_loss")),
        "Norms of gradients": both("norm", ("generator", "gradient_norm"), ("critic", "critic_gradient_norm")),
    }


def _points(lines: list[Line], key: str) -> list[tuple[float, float]]:
    """Return (step, value) of the lines that have a finite value; of a long run those that stand out."""
    return thinned([(line["step"], line[key]) for line in lines if key in line and is_finite(line[key])])


def is_finite(value: Any) -> bool:
    """Return whether a value is a number, and neither NaN nor infinite."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def _plot(
    label: str, series: list[tuple[str, str, str, list[tuple[float, float]]]], resumed: list[int], wide: bool = False
) -> str:
    """Return one plot over steps. `series`: name, colour, line format, points. `wide` allows a logarithmic axis."""
    series = [one for one in series if one[3]]
    values = [value for *_, points in series for _, value in points]
    with rc_context(STYLE):
        figure = Figure(figsize=_SIZE_INCH, layout="constrained")
        axes = figure.add_subplot()
        for name, colour, form, points in series:
            if len(points) == 1:
                form = "o"
            axes.plot(*zip(*points, strict=True), form, color=colour, label=name, linewidth=1.4, markersize=3)
        for step, _ in thinned([(step, 0.0) for step in resumed]):
            axes.axvline(step, color=INK, linewidth=0.7, alpha=0.5)
        if wide and values and min(values) > 0 and max(values) > WIDE * min(values):
            make_logarithmic(axes)
        elif values and min(values) >= 0:
            axes.set_ylim(bottom=0)
        axes.set_ylabel(label)
        if len(series) > 1:
            axes.legend()
        return _finished(figure, axes)


def _time_split(train: list[Line]) -> str:
    """Return the parts of a rank's time over steps, piled up to one."""
    with rc_context(STYLE):
        figure = Figure(figsize=_SIZE_INCH, layout="constrained")
        axes = figure.add_subplot()
        rows = [[line[f"{part}_share"] for line in train] for part in TIME_PARTS]
        steps, rows = averaged([0, *(line["step"] for line in train)], rows)
        bottoms = [0.0] * len(rows[0])
        for (part, colour), row in zip(TIME_COLOURS.items(), rows, strict=True):
            tops = [bottom + share for bottom, share in zip(bottoms, row, strict=True)]
            name = part.replace("_", " ")
            axes.stairs(tops, steps, baseline=bottoms, fill=True, color=colour, label=name)
            bottoms = tops
        axes.set(ylim=(0, 1), ylabel="share of time")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.legend(loc="lower left", frameon=True, facecolor="white", edgecolor=RULE, framealpha=0.92)
        return _finished(figure, axes)


def _finished(figure: Figure, axes: Axes) -> str:
    """Return a plot over steps as SVG text, the same for the same values."""
    axes.set_xlabel("step")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    return svg_text(figure)


def svg_text(figure: Figure) -> str:
    """Return a figure as SVG text, the same for the same values; its words stay words."""
    text = io.StringIO()
    FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None})
    return text.getvalue()


def as_png(figure: Figure) -> bytes:
    """Return a figure as PNG, the same bytes for the same figure."""
    image = io.BytesIO()
    FigureCanvasAgg(figure).print_png(image, metadata={"Software": None})
    return image.getvalue()


def make_doubling(axes: Axes, values: Iterable[int], label: str) -> None:
    """Give the axis along the bottom powers of two, labelled at these values in plain numbers."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(set(values)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(label)


def make_logarithmic(axes: Axes) -> None:
    """Give an axis of values powers of ten with 1, 2 and 5 labelled in plain numbers."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
