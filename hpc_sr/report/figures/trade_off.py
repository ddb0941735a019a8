"""The figure of perception against distortion: a point for each run, and where back-projection moves it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from hpc_sr.report.figures.colours import method_colours
from hpc_sr.report.figures.course import STYLE, svg_text
from hpc_sr.report.figures.evaluation import add_legend, legend_rows

_WIDTH_INCH = 4.8

#: A run, whether it is back-projected, and its total scores.
Point = tuple[str, bool, dict[str, float | None]]


def trade_off(points: Sequence[Point]) -> str | None:
    """Return NIQE over RMSE as SVG text: discs for runs as trained, rings back-projected, a line between the two.

    None where no run has both scores (Blau and Michaeli 2018, https://arxiv.org/abs/1711.06077).
    """
    placed: dict[str, list[tuple[bool, float, float]]] = {}
    for run, projected, total in points:
        rmse, niqe = total.get("rmse"), total.get("niqe")
        if rmse is not None and niqe is not None:
            placed.setdefault(run, []).append((projected, rmse, niqe))
    if not placed:
        return None
    colours = method_colours(list(placed), [])
    handles: dict[str, Any] = {}
    with rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH_INCH, 3.2 + 0.18 * legend_rows(colours)), layout="constrained")
        axes = figure.add_subplot()
        for run, both in placed.items():
            colour = colours[run]
            axes.plot([one[1] for one in both], [one[2] for one in both], color=colour, linewidth=0.9)
            for projected, rmse, niqe in both:
                face = "none" if projected else colour
                (drawn,) = axes.plot(rmse, niqe, "o", markersize=7, markerfacecolor=face, markeredgecolor=colour)
                handles.setdefault(run, drawn)
        axes.set(xlabel="RMSE ↓", ylabel="NIQE ↓")
        add_legend(figure, handles, [])
        return svg_text(figure)
