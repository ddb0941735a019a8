"""The figure of quality against scale: RMSE over hours for each run, and the best RMSE over the global batch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpc_sr.report.figures.colours import method_colours
from hpc_sr.report.figures.course import INK, STYLE, as_png, make_doubling
from hpc_sr.report.quality import Course

_SIZE_INCH = (11.0, 4.4)


def draw_quality(courses: Sequence[Course], target: float | None) -> bytes:
    """Return the figure as PNG."""
    with rc_context({**STYLE, "axes.titlesize": 10}):
        figure = Figure(figsize=_SIZE_INCH, layout="constrained", dpi=130)
        over_time, over_batch = figure.subplots(1, 2)
        _draw_courses(over_time, courses, target)
        _draw_batches(over_batch, courses)
        return as_png(figure)


def _draw_courses(axes: Axes, courses: Sequence[Course], target: float | None) -> None:
    colours = method_colours(names := [course.name for course in courses], names)
    for course in courses:
        hours, rmse = ([validation[part] for validation in course.validations] for part in (1, 2))
        axes.plot(hours, rmse, "o-", color=colours[course.name], markersize=3, linewidth=1.4, label=course.name)
    if target is not None:
        axes.axhline(target, color=INK, linewidth=0.8, linestyle=":")
    axes.set(xlabel="hours of training", ylabel="RMSE, validation", title="How soon")
    axes.legend()


def _draw_batches(axes: Axes, courses: Sequence[Course]) -> None:
    ordered = sorted(courses, key=lambda course: (course.rule, course.global_batch))
    rules = [rule for rule, _ in itertools.groupby(ordered, key=lambda course: course.rule)]
    colours = method_colours(rules, rules)
    for rule, group in itertools.groupby(ordered, key=lambda course: course.rule):
        batches, best = zip(*((course.global_batch, course.best) for course in group), strict=True)
        axes.plot(batches, best, "o-", color=colours[rule], markersize=4, label=f"rule: {rule}")
    make_doubling(axes, (course.global_batch for course in courses), "global batch")
    axes.set(ylabel="best RMSE, validation", title="How well")
    axes.legend()
