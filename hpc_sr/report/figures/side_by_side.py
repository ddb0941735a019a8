"""Parts of pictures side by side: what a network saw, what each method made of it, and what it should be."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpc_sr.report.figures.course import STYLE, as_png
from hpc_sr.report.pictures import Part

_SIDE_INCH = 2.1
_COLUMNS = 6
#: So long may a line of a name be beside or above a part.
_LETTERS = 24


def draw_side_by_side(parts: Sequence[Part], title: str) -> bytes:
    """Return the parts as PNG, each picture's in lines of six, without interpolation between their pixels."""
    lines = -(-max(len(part.shown) for part in parts) // _COLUMNS)
    columns = min(_COLUMNS, max(len(part.shown) for part in parts))
    with rc_context({**STYLE, "axes.titlesize": 8}):
        size = (_SIDE_INCH * columns, (_SIDE_INCH + 0.35) * lines * len(parts) + 0.3)
        figure = Figure(figsize=size, layout="constrained", dpi=120)
        axes = figure.subplots(lines * len(parts), columns, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for number, part in enumerate(parts):
            places = axes[number * lines : (number + 1) * lines].flat
            for axis, (name, colours) in zip(places, part.shown.items(), strict=False):
                _draw(axis, name, colours, part.scores.get(name))
            first = axes[number * lines][0]
            beside = {"rotation": 90, "ha": "right", "va": "center", "transform": first.transAxes}
            first.text(-0.04, 0.5, _lines(part.picture), fontsize=8, **beside)
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
        return as_png(figure)


def _draw(axis: Axes, name: str, colours: np.ndarray, score: str | None) -> None:
    axis.imshow(np.clip(colours, 0, 1), interpolation="nearest")
    axis.set_title(_lines(name) if score is None else f"{_lines(name)}\n{score}")


def _lines(name: str) -> str:
    """Return a name in lines that fit: a product's is longer than a part is wide."""
    return "\n".join(wrap(name, _LETTERS))
