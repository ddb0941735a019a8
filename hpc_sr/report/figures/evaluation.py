"""Figures of an evaluation as SVG text: errors by band, intervals over scenes, power and coherence by frequency.

Each takes {method: colour} in the order of drawing; methods in `emphasised` are drawn stronger. A value that does not
exist leaves a gap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from hpc_sr.report.figures.course import INK, STYLE, is_finite, svg_text

_WIDTH_INCH = 4.8
#: Scores of the figure of intervals, with their headings.
_SHOWN = {"rmse": "RMSE ↓", "sre": "SRE, dB ↑", "sam": "SAM, ° ↓"}
#: A transfer above this is cut off: where a reference has no power, any estimate has a thousand times as much.
_TRANSFER_TOP = 2.0
_DASHES = ("--", (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (7, 2)), (0, (3, 1.2, 1.2, 1.2, 1.2, 1.2)))

Evaluation = dict[str, Any]
Colours = dict[str, str]
#: Curves of a method by name, each a mean over bands and scenes, and their frequencies.
Curves = dict[str, np.ndarray]


def band_bars(evaluation: Evaluation, colours: Colours, emphasised: list[str]) -> str:
    """Return the RMSE by band, methods side by side."""
    bands, width = evaluation["bands"], 0.84 / len(colours)
    handles: dict[str, Any] = {}
    with rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH_INCH, 2.9 + 0.18 * legend_rows(colours)), layout="constrained")
        axes = figure.add_subplot()
        for index, (method, colour) in enumerate(colours.items()):
            errors = [evaluation["mean"][method]["bands"].get(band, {}).get("rmse") for band in bands]
            first = -0.42 + (index + 0.5) * width
            bars = [(place + first, error) for place, error in enumerate(errors) if is_finite(error)]
            edge: dict[str, Any] = {"edgecolor": "black", "linewidth": 0.9} if method in emphasised else {}
            if bars:
                places, heights = zip(*bars, strict=True)
                handles[method] = axes.bar(places, heights, width * 0.92, color=colour, **edge)
        axes.set_xticks(range(len(bands)), [plain(band) for band in bands])
        axes.grid(visible=False, axis="x")
        axes.set(ylabel="RMSE, reflectance × 10 000", ylim=(0, None))
        add_legend(figure, handles, emphasised)
        return svg_text(figure)


def interval_plot(evaluation: Evaluation, colours: Colours, emphasised: list[str]) -> str | None:
    """Return means over scenes with their 95 % intervals, methods down; None where no method has an interval."""
    intervals, mean = evaluation.get("intervals") or {}, evaluation["mean"]
    shown = {
        key: heading
        for key, heading in _SHOWN.items()
        if any((intervals.get(method) or {}).get(key) for method in colours)
    }
    if not shown:
        return None
    with rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH_INCH, 1.0 + 0.24 * len(colours)), layout="constrained")
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for axes, (key, heading) in zip(panels, shown.items(), strict=True):
            for row, (method, colour) in enumerate(colours.items()):
                value, interval = mean[method]["total"].get(key), (intervals.get(method) or {}).get(key)
                strong = method in emphasised
                if interval is not None:
                    axes.plot(
                        interval, [row, row], color=colour, linewidth=3.4 if strong else 2.2, solid_capstyle="butt"
                    )
                if value is not None:
                    axes.plot(
                        value,
                        row,
                        "o",
                        color=colour,
                        markeredgecolor="black",
                        markeredgewidth=0.6,
                        markersize=6 if strong else 4.5,
                    )
            axes.set_xlabel(heading)
            axes.xaxis.set_major_locator(MaxNLocator(3, min_n_ticks=2))
        panels[0].set_yticks(range(len(colours)), [plain(method, 18) for method in colours])
        panels[0].set_ylim(len(colours) - 0.4, -0.6)
        for label, method in zip(panels[0].get_yticklabels(), colours, strict=True):
            label.set_fontweight("bold" if method in emphasised else "normal")
        return svg_text(figure)


def spectrum_plots(evaluation: Evaluation, colours: Colours, emphasised: list[str]) -> dict[str, str]:
    """Return figures over frequency by caption, {} where no spectrum was measured.

    A thin upright line stands at the finest frequency that the coarse bands can hold.
    """
    curves = {method: found for method in colours if (found := mean_spectra(evaluation, method)) is not None}
    if not curves:
        return {}
    scale = evaluation["scale"] or 1
    finest = 0.5 / scale if scale > 1 and evaluation["protocol"] != "consistency" else None
    names = {"coherence": "coherence with the measured bands", "transfer": "power / measured power"}
    plots = {}
    for key, label in names.items():
        lines = {method: curve[key] for method, curve in curves.items()}
        plots[label.capitalize()] = _over_frequency(curves, lines, label, colours, emphasised, finest, one=True)
    lines = {method: curve["power_estimate"] for method, curve in curves.items()}
    measured = next(iter(curves.values()))["power_reference"]
    plots["Power of the measured bands and of the estimates"] = _over_frequency(
        curves, lines, "power, the unit of RMSE squared", colours, emphasised, finest, measured=measured
    )
    return plots


def mean_spectra(evaluation: Evaluation, method: str) -> Curves | None:
    """Return a method's curves as means over bands and scenes, with `frequency` in cycles per pixel; None of none."""
    found = [
        curves
        for scene in evaluation["scenes"]
        for curves in ((scene.get("spectra") or {}).get(method) or {}).values()
        if curves
    ]
    if not found:
        return None
    return {key: np.mean([np.asarray(curves[key], float) for curves in found], axis=0) for key in found[0]}


def _over_frequency(
    curves: dict[str, Curves],
    lines: dict[str, np.ndarray],
    label: str,
    colours: Colours,
    emphasised: list[str],
    finest: float | None,
    one: bool = False,
    measured: np.ndarray | None = None,
) -> str:
    """Return one line a method. `one` marks 1 and keeps the axis near it; power, without it, is logarithmic."""
    with rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH_INCH, 2.9 + 0.18 * legend_rows(lines)), layout="constrained")
        axes = figure.add_subplot()
        handles: dict[str, Any] = {}
        if measured is not None:
            frequency = next(iter(curves.values()))["frequency"]
            (handles["measured"],) = axes.plot(frequency, measured, color="black", linewidth=3.0, alpha=0.35)
        for index, (method, values) in enumerate(lines.items()):
            strong = method in emphasised
            dash, width = ("-", 2.2) if strong else (_DASHES[index % len(_DASHES)], 1.4)
            (handles[method],) = axes.plot(
                curves[method]["frequency"],
                values,
                linestyle=dash,
                linewidth=width,
                color=colours[method],
                zorder=3 if strong else 2,
            )
        if one:
            axes.axhline(1.0, color=INK, linewidth=0.9)
            most = max(float(np.nanmax(values)) for values in lines.values())
            least = min(float(np.nanmin(values)) for values in lines.values())
            axes.set_ylim(min(0.0, 1.05 * least), min(max(1.08, 1.05 * most), _TRANSFER_TOP))
        else:
            drawn = np.concatenate([values for values in lines.values()])
            if drawn.min() > 0:
                axes.set_yscale("log")
                # Words stay words in an SVG, and so would the markup of matplotlib's own powers.
                axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}".replace("e+0", "e")))
                axes.yaxis.set_minor_formatter(NullFormatter())
        if finest is not None:
            axes.axvline(finest, color=INK, linewidth=0.8, linestyle=":")
            axes.annotate(
                "finest of the input",
                (finest, 1.0),
                (3, 2),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                fontsize=7.5,
                color=INK,
            )
        axes.set(xlabel="frequency, cycles per pixel", ylabel=label, xlim=(0, 0.5))
        add_legend(figure, handles, emphasised)
        return svg_text(figure)


def legend_rows(methods: dict[str, Any]) -> int:
    """Return how many rows the names take under a figure, one more name included."""
    return -(-(len(methods) + 1) // _legend_columns(methods))


def _legend_columns(methods: dict[str, Any]) -> int:
    """Return how many names stand side by side: as many as the longest of them leaves room for."""
    return max(1, min(4, 58 // (max(len(plain(method)) for method in methods) + 6)))


def add_legend(figure: Figure, handles: dict[str, Any], emphasised: list[str]) -> None:
    """Add the names under a figure, if there are any.

    They are written afterwards: matplotlib leaves out those that begin with "_".
    """
    if not handles:
        return
    legend = figure.legend(
        list(handles.values()),
        ["name"] * len(handles),
        loc="outside lower center",
        ncols=_legend_columns(handles),
        fontsize=8,
        handlelength=2.6,
        columnspacing=1.2,
    )
    for text, method in zip(legend.get_texts(), handles, strict=True):
        text.set_text(plain(method))
        text.set_fontweight("bold" if method in emphasised else "normal")


def plain(text: str, longest: int = 22) -> str:
    """Return a name, cut in its middle if it is long."""
    return text if len(text) <= longest else f"{text[: longest // 2]}…{text[-(longest // 2) + 1 :]}"
