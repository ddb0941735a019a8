"""The course of many trainings in one figure: validation RMSE and training loss over the samples seen."""

from __future__ import annotations

from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from hpc_sr.report.figures.course import BASELINE, STYLE, WIDE, is_finite, make_logarithmic, svg_text
from hpc_sr.report.figures.evaluation import Colours, add_legend, legend_rows
from hpc_sr.report.figures.thinning import thinned
from hpc_sr.report.run_directory import Run

#: (samples, value) of a run in order.
Points = list[tuple[float, float]]


def learning_curves(runs: dict[str, Run], colours: Colours) -> dict[str, str]:
    """Return figures as SVG text by caption, {} where nothing was trained.

    Runs stand in one figure of validation if bicubic has the same RMSE there, to four digits: they were validated on
    the same patches. The training loss is each run's own.
    """
    validated: dict[str, dict[str, Points]] = {}
    for name, run in runs.items():
        lines = [line for line in run.of_kind("validation") if is_finite(line.get("rmse"))]
        if lines:
            bicubic = lines[-1].get("rmse_bicubic")
            key = f"{bicubic:.4g}" if is_finite(bicubic) else ""
            validated.setdefault(key, {})[name] = [(line["samples"], line["rmse"]) for line in lines]
    figures = {}
    for key, curves in validated.items():
        against = f", bicubic {key}" if key else ""
        level = float(key) if key else None
        figures[f"Validation RMSE by samples{against}"] = _overlaid(curves, colours, "RMSE", level)
    losses = {
        name: [(line["samples"], line["loss"]) for line in run.of_kind("train") if is_finite(line.get("loss"))]
        for name, run in runs.items()
    }
    losses = {name: points for name, points in losses.items() if points}
    if losses:
        figures["Training loss by samples, each run's own loss"] = _overlaid(losses, colours, "loss")
    return figures


def _overlaid(curves: dict[str, Points], colours: Colours, label: str, bicubic: float | None = None) -> str:
    with rc_context(STYLE):
        figure = Figure(figsize=(4.8, 2.7 + 0.18 * legend_rows(curves)), layout="constrained")
        axes = figure.add_subplot()
        handles: dict[str, Any] = {}
        if bicubic is not None:
            handles["bicubic"] = axes.axhline(bicubic, color=BASELINE, linestyle="--", linewidth=1.3)
        for name, points in ((name, thinned(points)) for name, points in curves.items()):
            form = "o-" if len(points) <= 20 else "-"
            (handles[name],) = axes.plot(
                *zip(*points, strict=True), form, color=colours[name], linewidth=1.6, markersize=3
            )
        values = [value for points in curves.values() for _, value in points] + ([bicubic] if bicubic else [])
        if min(values) > 0 and max(values) > WIDE * min(values):
            make_logarithmic(axes)
        elif min(values) >= 0:
            axes.set_ylim(bottom=0)
        axes.set(xlabel="samples", ylabel=label)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        add_legend(figure, handles, [])
        return svg_text(figure)
