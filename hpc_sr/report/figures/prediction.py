"""The figure of predicted scaling: efficiency of each way of training, and what a step is lost to."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from hpc_sr.report.figures.course import INK, OURS, STYLE, TIME_COLOURS, as_png, make_doubling
from hpc_sr.report.prediction import GOOD, Curve

_SIZE_INCH = (11.0, 4.4)
_FORMS = ("-", "--", "-.", ":")


def draw_forecast(curves: Sequence[Curve], title: str, links: str) -> bytes:
    """Return the figure as PNG: all curves, and the first one's losses."""
    with rc_context({**STYLE, "axes.titlesize": 10}):
        figure = Figure(figsize=_SIZE_INCH, layout="constrained", dpi=130)
        efficiency, losses = figure.subplots(1, 2)
        _draw_efficiency(efficiency, curves)
        _draw_losses(losses, curves[0])
        figure.suptitle(f"Predicted. {title}\n{links}", x=0.01, ha="left", fontsize=9)
        return as_png(figure)


def _draw_efficiency(axes: Axes, curves: Sequence[Curve]) -> None:
    axes.axhline(GOOD, color=INK, linewidth=0.8, alpha=0.6)
    for form, curve in zip(_FORMS, curves, strict=True):
        ranks = [one.ranks for one in curve.predictions]
        axes.plot(ranks, [one.efficiency for one in curve.predictions], form, label=curve.name, color=OURS)
        if curve is curves[0]:
            low, high = zip(*(one.efficiency_range for one in curve.predictions), strict=True)
            axes.fill_between(ranks, low, high, color=OURS, alpha=0.2, linewidth=0)
    _over_ranks(axes, curves[0])
    axes.set_ylim(top=1.02)
    axes.set(ylabel="efficiency", title="Efficiency; shaded: runs of 50 steps")
    axes.legend(loc="lower left")


def _draw_losses(axes: Axes, curve: Curve) -> None:
    ranks = [one.ranks for one in curve.predictions]
    waiting, exposed = ([getattr(one, part) for one in curve.predictions] for part in ("waiting", "exposed"))
    colours = list(TIME_COLOURS.values())
    axes.stackplot(
        ranks, waiting, exposed, labels=("waiting for the slowest", "exchange not hidden"), colors=colours[1:]
    )
    _over_ranks(axes, curve)
    axes.set_ylim(bottom=0)
    axes.set(ylabel="share of a step", title=f"What is lost, {curve.name}")
    axes.legend(loc="upper left")


def _over_ranks(axes: Axes, curve: Curve) -> None:
    make_doubling(axes, (one.ranks for one in curve.predictions), "ranks")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
