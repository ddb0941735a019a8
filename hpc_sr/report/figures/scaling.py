"""The figure of scaling: throughput, efficiency, and where the time goes, over the number of ranks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Protocol

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from hpc_sr.report.figures.course import (
    BASELINE,
    INK,
    OURS,
    RULE,
    STYLE,
    TIME_COLOURS,
    as_png,
    make_doubling,
    make_logarithmic,
)

_SIZE_INCH = (13.0, 4.4)
_COLOURS = {"serial": INK, "horovod": BASELINE, "ddp": OURS}
_MARKERS = {"serial": "s", "horovod": "o", "ddp": "D"}


class Point(Protocol):
    """What is drawn of a measurement."""

    @property
    def content(self) -> dict[str, Any]: ...

    @property
    def efficiency(self) -> float: ...

    @property
    def backend(self) -> str: ...

    @property
    def ranks(self) -> int: ...

    @property
    def samples_per_s(self) -> float: ...


def draw_scaling(points: Sequence[Point], title: str) -> bytes:
    """Return the figure as PNG. Points are in order of backend and ranks."""
    curves = {name: list(group) for name, group in itertools.groupby(points, lambda point: point.backend)}
    with rc_context({**STYLE, "axes.titlesize": 10}):
        figure = Figure(figsize=_SIZE_INCH, layout="constrained", dpi=130)
        throughput, efficiency, time = figure.subplots(1, 3)
        _draw_throughput(throughput, curves)
        _draw_efficiency(efficiency, curves)
        _draw_time(time, curves)
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        return as_png(figure)


def _draw_throughput(axes: Axes, curves: dict[str, list[Point]]) -> None:
    most = max(point.ranks for curve in curves.values() for point in curve)
    for backend, curve in curves.items():
        first = curve[0]
        if most > first.ranks:
            per_rank = first.samples_per_s / first.ranks
            ends = [first.ranks, most]
            axes.plot(ends, [per_rank * n for n in ends], ":", color=_COLOURS[backend], linewidth=1.2)
        speeds = [point.samples_per_s for point in curve]
        spread = [
            [abs(point.content["samples_per_s_min_max"][end] - point.samples_per_s) for point in curve]
            for end in (0, 1)
        ]
        axes.errorbar([point.ranks for point in curve], speeds, spread, capsize=2.5, **_look(backend))
    make_logarithmic(axes)
    _label_ranks(axes, curves)
    axes.plot([], [], ":", color=INK, label="ideal, from the smallest")
    axes.set(ylabel="samples / s, all ranks", title="Throughput, slowest to fastest round")
    axes.legend()


def _draw_efficiency(axes: Axes, curves: dict[str, list[Point]]) -> None:
    axes.axhline(1.0, color=INK, linewidth=1.0, linestyle=":")
    for backend, curve in curves.items():
        ranks, shares = [point.ranks for point in curve], [point.efficiency for point in curve]
        axes.plot(ranks, shares, **_look(backend))
        if len(curve) > 1:
            axes.annotate(
                f"{shares[-1]:.0%}",
                (ranks[-1], shares[-1]),
                xytext=(7, 0),
                textcoords="offset points",
                fontsize=8,
                va="center",
                color=_COLOURS[backend],
            )
    _label_ranks(axes, curves)
    axes.set_xlim(right=1.35 * axes.get_xlim()[1])
    axes.set_ylim(0, 1.1 * max(1.0, *(point.efficiency for curve in curves.values() for point in curve)))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set(ylabel="efficiency", title="Samples / s of a rank against the smallest world")


def _draw_time(axes: Axes, curves: dict[str, list[Point]]) -> None:
    """Draw a bar a point, backends side by side."""
    grouped = [(group, point) for group, curve in enumerate(curves.values()) for point in curve]
    points = [(place + 0.8 * group, point) for place, (group, point) in enumerate(grouped)]
    places, bottoms = [place for place, _ in points], [0.0] * len(points)
    for part, colour in TIME_COLOURS.items():
        shares = [point.content["shares"][part] for _, point in points]
        axes.bar(places, shares, bottom=bottoms, color=colour, width=0.78, label=part.replace("_", " "))
        bottoms = [bottom + share for bottom, share in zip(bottoms, shares, strict=True)]
    axes.set_xticks(places, [str(point.ranks) for _, point in points])
    for backend in curves:
        of_backend = [place for place, point in points if point.backend == backend]
        axes.annotate(
            backend,
            (sum(of_backend) / len(of_backend), 1.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=_COLOURS[backend],
        )
    axes.grid(visible=False, axis="x")
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("ranks")
    axes.set_title("Where a rank's time goes", pad=16)
    axes.legend(loc="lower left", frameon=True, facecolor="white", edgecolor=RULE, framealpha=0.92)


def _look(backend: str) -> dict[str, Any]:
    colour, marker = _COLOURS[backend], _MARKERS[backend]
    return {"color": colour, "marker": marker, "markersize": 4.5, "linewidth": 1.6, "label": backend}


def _label_ranks(axes: Axes, curves: dict[str, list[Point]]) -> None:
    ranks = sorted({point.ranks for curve in curves.values() for point in curve})
    make_doubling(axes, ranks, "ranks")
    if len(ranks) == 1:
        axes.set_xlim(ranks[0] / 1.5, ranks[0] * 1.5)
