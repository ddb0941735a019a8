"""How training scales: points that `hpc-sr benchmark` measured, as a table and a figure. Reads JSON only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from hpc_sr.disk import telling, write_atomically
from hpc_sr.errors import OutputError, RunDirectoryError
from hpc_sr.markdown import as_text
from hpc_sr.report.files import can_draw
from hpc_sr.report.run_directory import TIME_PARTS, read_json_object
from hpc_sr.report.tables import UNDEFINED

SCHEMA = 1
_HEADING = (
    "backend",
    "ranks",
    "nodes",
    "global batch",
    "samples/s",
    "min",
    "max",
    "efficiency",
    "compute",
    "communication",
    "data wait",
    "of peak",
    "host memory",
    "device memory",
)
_ON_A_TERMINAL = ("backend", "ranks", "nodes", "samples/s", "efficiency", "communication", "data wait")


@dataclass(frozen=True)
class Point:
    """One measurement. `efficiency` is 1 where every further rank adds as much as the first."""

    file: str
    content: dict[str, Any]
    efficiency: float

    @property
    def backend(self) -> str:
        return self.content["backend"]

    @property
    def ranks(self) -> int:
        return self.content["world_size"]

    @property
    def samples_per_s(self) -> float:
        return self.content["samples_per_s"]


def read_points(folder: Path) -> list[Point]:
    """Return the points in a folder by backend and number of ranks.

    A point's efficiency is its samples per second and rank over those of the smallest world of its backend, or of the
    serial one if that is smaller. Raises RunDirectoryError if there is no point, if a file cannot be understood, or
    if the points are not of one setting.
    """
    with telling(folder, RunDirectoryError, "read"):
        paths = sorted(folder.glob("*.json"))
    found = {path.name: _read(path) for path in paths}
    contents = {name: content for name, content in found.items() if content.get("bench") == "scaling"}
    if not contents:
        raise RunDirectoryError(
            "holds no point of a scaling curve (*.json)",
            where=folder,
            cure="measure some: hpc-sr benchmark RECIPE --out DIR/NAME.json, under each launcher and number of ranks",
        )
    _check_one_setting(folder, contents)
    points = [
        Point(name, content, _speed_per_rank(content) / _speed_per_rank(_base_of(content, list(contents.values()))))
        for name, content in contents.items()
    ]
    return sorted(points, key=lambda point: (point.backend != "serial", point.backend, point.ranks, point.file))


def write_scaling(folder: Path, points: list[Point]) -> list[Path]:
    """Write scaling.md and, with matplotlib, scaling.png into the folder; return their paths. Raises OutputError."""
    files: dict[Path, str | bytes] = {folder / "scaling.md": markdown_table(points)}
    if can_draw():
        from hpc_sr.report.figures.scaling import draw_scaling

        files[folder / "scaling.png"] = draw_scaling(points, title(points))
    try:
        for path, content in files.items():
            write_atomically(path, content)
    except OSError as error:
        raise OutputError(f"cannot be written ({error})", where=folder, cure="make the folder writable") from error
    return list(files)


def title(points: list[Point]) -> str:
    """Return what was measured, in a line."""
    setting, one = points[0].content["setting"], points[0].content
    fixed, on_each = setting["global_batch_size"], setting["batch_size_per_rank"] * setting["accumulation_steps"]
    batch = f"global batch {fixed:,}" if fixed else f"batch {on_each:,} a rank"
    return (
        f"{setting['recipe']}: {setting['family']} for task {setting['task']}, {one['parameters']:,} parameters, "
        f"patches of {setting['patch_px']} px, {batch}, {setting['precision']}, {one['device']}"
    )


def markdown_table(points: list[Point]) -> str:
    """Return the points as Markdown, with what they are of and how they were measured."""
    rows = [list(map(as_text, row)) for row in (_HEADING, *map(_row, points))]
    lines = [rows[0], ["---"] + ["---:"] * (len(_HEADING) - 1), *rows[1:]]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"**{as_text(title(points))}**\n\n{table}\n\n" + "\n\n".join(map(as_text, _notes(points))) + "\n"


def console_table(points: list[Point]) -> Table:
    """Return the points for a terminal of 80 columns."""
    shown = [_HEADING.index(name) for name in _ON_A_TERMINAL]
    table = Table(title=escape(title(points)), title_justify="left")
    for column in shown:
        table.add_column(_HEADING[column], justify="right" if column else "left")
    for point in points:
        row = _row(point)
        table.add_row(*(escape(row[column]) for column in shown))
    return table


def _row(point: Point) -> list[str]:
    content, (least, most) = point.content, point.content["samples_per_s_min_max"]
    return [
        point.backend,
        str(point.ranks),
        str(content["nodes"]),
        f"{content['global_batch_size']:,}",
        *(_speed(speed) for speed in (point.samples_per_s, least, most)),
        f"{point.efficiency:.3f}",
        *(f"{100 * content['shares'][part]:.1f} %" for part in TIME_PARTS),
        _percent(content["fraction_of_peak"]),
        _gibibytes(content["peak_host_bytes"]),
        _gibibytes(content["peak_device_bytes"]),
    ]


def _notes(points: list[Point]) -> list[str]:
    one = points[0].content
    told = one["environment"]
    packages = ", ".join(f"{name} {version}" for name, version in told["packages"].items() if version)
    return [
        f"Medians of {one['rounds']} rounds of {one['steps_per_round']} steps on {one['device']} "
        f"({told['processor']}, {told['cores']} cores); data: {one['data']}.",
        "Efficiency is samples/s over ranks times those of one rank, or of the smallest world that was measured. "
        "Compute, communication and data wait are shares of a rank's time; communication is what its own backward "
        "pass does not hide.",
        f"Commit {told['git_commit']}, {packages}.",
    ]


def _check_one_setting(folder: Path, contents: dict[str, dict[str, Any]]) -> None:
    (first, base), *others = contents.items()
    for name, content in others:
        for key in {**base["setting"], **content["setting"]}:
            ours, theirs = base["setting"].get(key), content["setting"].get(key)
            if ours != theirs:
                raise RunDirectoryError(
                    f"mixes settings: {key} is {ours!r} in {first}, {theirs!r} in {name}",
                    where=folder,
                    cure="keep the points of each setting in a folder of their own",
                )


def _base_of(content: dict[str, Any], contents: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what efficiency is measured from: the smallest world of the same backend, or the serial one."""
    alike = [one for one in contents if one["backend"] in (content["backend"], "serial")]
    return min(alike, key=lambda one: (one["world_size"], one["backend"] != content["backend"]))


def _speed_per_rank(content: dict[str, Any]) -> float:
    return content["samples_per_s"] / content["world_size"]


def _read(path: Path) -> dict[str, Any]:
    content = read_json_object(path)
    if content.get("bench") == "scaling" and content.get("schema") != SCHEMA:
        raise RunDirectoryError(
            f"is of schema {content.get('schema')!r}, known is {SCHEMA}",
            where=path,
            cure="measure it again with this version",
        )
    return content


def _speed(samples_per_s: float) -> str:
    return f"{samples_per_s:,.0f}" if samples_per_s >= 1000 else f"{samples_per_s:.4g}"


def _percent(share: float | None) -> str:
    return UNDEFINED if share is None else f"{100 * share:.1f} %"


def _gibibytes(size_bytes: float | None) -> str:
    return UNDEFINED if size_bytes is None else f"{size_bytes / 2**30:.2f} GiB"
