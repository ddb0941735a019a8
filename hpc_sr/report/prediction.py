"""What measured points say about ranks that nobody has measured: a table, a figure, and how far the model is off."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from hpc_sr.disk import telling, write_atomically
from hpc_sr.errors import OutputError, RunDirectoryError
from hpc_sr.markdown import as_text
from hpc_sr.report.files import can_draw
from hpc_sr.report.rendering import Cell, Grid, as_markdown
from hpc_sr.report.scaling import Point, title
from hpc_sr.report.scaling_model import CLUSTERS, Cluster, Load, Prediction, fit_links, most_ranks, predict

#: The efficiency whose end is told.
GOOD = 0.9
_HEADING = ["ranks", "samples/s", "efficiency", "in runs of 50 steps", "waiting for the slowest", "exchange not hidden"]


@dataclass(frozen=True)
class Curve:
    """What was predicted for one way of training, the fewest ranks first."""

    name: str
    predictions: list[Prediction]

    @property
    def most_ranks(self) -> int:
        """The ranks up to which the efficiency is good."""
        return most_ranks(self.predictions, GOOD)


@dataclass(frozen=True)
class Check:
    """A measured point and its prediction; the links were fitted to other points where there are any."""

    point: Point
    predicted_samples_per_s: float

    @property
    def error(self) -> float:
        """Predicted over measured, less 1."""
        return self.predicted_samples_per_s / self.point.samples_per_s - 1


@dataclass(frozen=True)
class Forecast:
    """The points, the links that were reckoned with, the curves (as measured first), and the checks."""

    points: list[Point]
    cluster: Cluster
    curves: list[Curve]
    checks: list[Check]


def forecast(points: list[Point], up_to: int, links: str | None = None) -> Forecast:
    """Return the predictions for up to so many ranks, on the links called `links` or on those of the points.

    Raises RunDirectoryError if no point is of one rank, if the points are of an older version, or if there is nothing
    to know the links from.
    """
    load = _load_of(_alone(points))
    cluster = CLUSTERS[links] if links else _measured(points, points)
    ranks = [2**k for k in range(up_to.bit_length()) if 2**k <= up_to]
    ways = {
        "as measured": load,
        "gradients exchanged as fp16": replace(load, size_bytes=load.size_bytes / 2),
        "twice the batch of a rank": replace(load, step_s=tuple(2 * t for t in load.step_s), samples=2 * load.samples),
        "four portions an update": replace(load, portions=4 * load.portions),
    }
    curves = [Curve(name, [predict(way, cluster, n) for n in ranks]) for name, way in ways.items()]
    several = [point for point in points if point.ranks > 1]
    checks = [
        Check(point, predict(load, links_without(point, points), point.ranks).samples_per_s)
        for point in several
        if point.content.get("exchange")
    ]
    return Forecast(points, cluster, curves, checks)


def links_without(point: Point, points: list[Point]) -> Cluster:
    """Return the links as the points of other worlds show them; its own where no other point has any."""
    others = [one for one in points if one.ranks != point.ranks and one.content.get("exchange")]
    return _measured(others or [point], points)


def _measured(sources: list[Point], points: list[Point]) -> Cluster:
    """Return the cluster that the sources' exchanges show; one kind of links stands for the other if it is missing."""
    told: dict[bool, list[tuple[int, float, float]]] = {False: [], True: []}
    for point in sources:
        rows = [(point.ranks, one["bytes"], one["seconds"]) for one in point.content.get("exchange", [])]
        told[point.content["nodes"] > 1] += rows
    if not any(told.values()):
        raise RunDirectoryError(
            "tells no time of an exchange: no point has two ranks or more",
            where=Path(points[0].file),
            cure=f"measure one, or name the links: {', '.join(CLUSTERS)}",
        )
    inside, between = (fit_links(told[which] or told[not which]) for which in (False, True))
    per_node = max(-(-point.ranks // point.content["nodes"]) for point in points)
    name = "the links as measured" + ("" if told[True] else "; between nodes nothing was: those inside a node")
    return Cluster(name, per_node, inside, between)


def _alone(points: list[Point]) -> Point:
    """Return the point of one rank."""
    ones = [point for point in points if point.ranks == 1]
    if not ones:
        raise RunDirectoryError(
            "holds no point of one rank",
            where=Path(points[0].file),
            cure="measure it: hpc-sr benchmark RECIPE --out DIR/one.json",
        )
    return ones[0]


def _load_of(point: Point) -> Load:
    content = point.content
    try:
        portions = content["accumulation_steps"]
        step_s = tuple(t / portions for t in content["step_s"])
        return Load(
            step_s, content["gradient_bytes"], content["bucket_bytes"], content["batch_size_per_rank"], portions
        )
    except KeyError as error:
        raise RunDirectoryError(
            f"tells no {error}", where=Path(point.file), cure="measure it again with this version"
        ) from error


def write_forecast(folder: Path, told: Forecast) -> list[Path]:
    """Write predicted.md and, with matplotlib, predicted.png; return their paths. Raises OutputError."""
    files: dict[Path, str | bytes] = {folder / "predicted.md": markdown_of(told)}
    if can_draw():
        from hpc_sr.report.figures.prediction import draw_forecast

        files[folder / "predicted.png"] = draw_forecast(told.curves, title(told.points), told.cluster.name)
    with telling(folder, OutputError, "written"):
        for path, content in files.items():
            write_atomically(path, content)
    return list(files)


def markdown_of(told: Forecast) -> str:
    """Return the forecast as Markdown: each way's table, where it stops being efficient, what the model missed."""
    parts = [f"**Predicted: {as_text(title(told.points))}**", as_text(_links(told.cluster))]
    for curve in told.curves:
        rows = [(str(one.ranks), list(map(Cell, _row(one)))) for one in curve.predictions]
        parts.append(f"### {as_markdown(Grid(curve.name, _HEADING, rows, (_end(curve),)))}")
    if told.checks:
        rows = [(check.point.backend, list(map(Cell, _checked(check)))) for check in told.checks]
        parts.append(f"### {as_markdown(Grid('Measured points', _CHECKED, rows))}")
    return "\n\n".join([*parts, *_NOTES]) + "\n"


def console_of(told: Forecast) -> Table:
    """Return the efficiency of all ways for a terminal of 80 columns."""
    table = Table(title=escape(f"Predicted efficiency: {told.cluster.name}"), title_justify="left")
    table.add_column("ranks", justify="right")
    for curve in told.curves:
        table.add_column(curve.name, justify="right")
    for row in zip(*(curve.predictions for curve in told.curves), strict=True):
        table.add_row(str(row[0].ranks), *(f"{one.efficiency:.3f}" for one in row))
    table.add_row(f">= {GOOD} up to", *(str(curve.most_ranks) for curve in told.curves))
    return table


_CHECKED = ["backend", "ranks", "measured samples/s", "predicted", "off by"]
_NOTES = (
    "Each rank's step takes what one rank's steps were measured to take, drawn anew; gradients are exchanged bucket by "
    "bucket during the backward pass, two thirds of a step. An exchange takes the faster one of a ring and a tree.",
    "Not in the model: other jobs on the same links, reading data from a file system that all nodes share, and what "
    "processes on one node take from each other. Twice the batch is reckoned to take twice as long.",
)


def _links(cluster: Cluster) -> str:
    def told(name: str, latency_s: float, bytes_per_s: float) -> str:
        return f"{name} {1e6 * latency_s:.3g} us a message, {bytes_per_s / 1e9:.3g} GB/s"

    return (
        f"Links: {cluster.name}; {cluster.ranks_per_node} ranks a node; "
        f"{told('inside', cluster.inside.latency_s, cluster.inside.bytes_per_s)}; "
        f"{told('between', cluster.between.latency_s, cluster.between.bytes_per_s)}."
    )


def _end(curve: Curve) -> str:
    last = curve.predictions[-1].ranks
    most = curve.most_ranks
    return f"Efficiency is {GOOD} or more up to {most} ranks" + (", the last asked for." if most == last else ".")


def _row(one: Prediction) -> list[str]:
    low, high = one.efficiency_range
    return [
        f"{one.samples_per_s:,.0f}" if one.samples_per_s >= 1000 else f"{one.samples_per_s:.4g}",
        f"{one.efficiency:.3f}",
        f"{low:.3f} to {high:.3f}",
        f"{100 * one.waiting:.1f} %",
        f"{100 * one.exposed:.1f} %",
    ]


def _checked(check: Check) -> list[str]:
    measured, predicted = check.point.samples_per_s, check.predicted_samples_per_s
    return [str(check.point.ranks), f"{measured:.4g}", f"{predicted:.4g}", f"{check.error:+.1%}"]
