"""Figures of a run's course: SVG text, one small plot each, so that a page can lay them out for any width."""

from __future__ import annotations

import io
import math
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter

OURS, BASELINE, INK, RULE = "#0b6e8f", "#b4552d", "#3d4650", "#d9dee3"
_SIZE_INCH = (4.8, 2.7)
_STYLE = {
    "font.family": "sans-serif", "font.size": 9, "axes.edgecolor": RULE, "axes.labelcolor": INK, "text.color": INK,
    "xtick.color": INK, "ytick.color": INK, "axes.grid": True, "grid.color": RULE, "grid.linewidth": 0.6,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "axes.axisbelow": True,
    "xtick.major.size": 0, "ytick.major.size": 0, "ytick.minor.size": 0, "svg.hashsalt": "hpc_sr",
}  # fmt: skip

#: An axis is logarithmic where the values span more than this ratio.
_WIDE = 4.0

Line = dict[str, Any]


def curves(train: list[Line], validation: list[Line]) -> dict[str, str]:
    """Return the plots that the metric lines allow as SVG text, by caption."""
    plots = {}
    if train:
        plots["Training loss"] = _plot("loss", [("loss", OURS, "-", _points(train, "loss"))], wide=True)
    if validation:
        plots["Validation RMSE, reflectance × 10 000"] = _plot(
            "RMSE", [
                ("bicubic", BASELINE, "--", _points(validation, "rmse_bicubic")),
                ("network", OURS, "o-", _points(validation, "rmse")),
            ], wide=True,
        )  # fmt: skip
    if train:
        plots["Learning rate"] = _plot("learning rate", [("rate", OURS, "-", _points(train, "learning_rate"))])
        plots["Throughput, samples per second over all ranks"] = _plot(
            "samples / s", [("speed", OURS, "-", _points(train, "samples_per_s"))]
        )
    return plots


def _points(lines: list[Line], key: str) -> list[tuple[float, float]]:
    """Return (step, value) of the lines that have a finite value."""
    return [(line["step"], line[key]) for line in lines if key in line and _is_finite(line[key])]


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _plot(label: str, series: list[tuple[str, str, str, list[tuple[float, float]]]], wide: bool = False) -> str:
    """Return one plot over steps. `series`: name, colour, line format, points. `wide` allows a logarithmic axis."""
    series = [one for one in series if one[3]]
    values = [value for *_, points in series for _, value in points]
    with rc_context(_STYLE):
        figure = Figure(figsize=_SIZE_INCH, layout="constrained")
        axes = figure.add_subplot()
        for name, colour, form, points in series:
            if len(points) == 1:
                form = "o"
            axes.plot(*zip(*points, strict=True), form, color=colour, label=name, linewidth=1.4, markersize=3)
        if wide and values and min(values) > 0 and max(values) > _WIDE * min(values):
            _make_logarithmic(axes)
        elif values and min(values) >= 0:
            axes.set_ylim(bottom=0)
        axes.set(xlabel="step", ylabel=label)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        if len(series) > 1:
            axes.legend()
        text = io.StringIO()
        FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None})
    return text.getvalue()


def _make_logarithmic(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
