"""Quality against scale: what runs on several ranks and batches reached, and how long they took to a target.

As in the thesis's tables of batch sizes and learning-rate rules. Read from run directories alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpc_sr.disk import telling, write_atomically
from hpc_sr.errors import OutputError, RunDirectoryError
from hpc_sr.report.files import can_draw, write_tables
from hpc_sr.report.rendering import UNDEFINED, Cell, Grid
from hpc_sr.report.run_directory import read_run

_HEADING = [
    "run",
    "ranks",
    "global batch",
    "rule",
    "peak rate",
    "steps",
    "samples, million",
    "hours",
    "samples / s",
    "best RMSE ↓",
    "last RMSE",
    "samples to target, million",
    "hours to target ↓",
]


@dataclass(frozen=True)
class Course:
    """What a run reached: (samples, hours, RMSE) at each validation, and how it was made.

    Hours are of training steps alone, all ranks at once.
    """

    name: str
    ranks: int
    global_batch: int
    rule: str
    peak_rate: float
    steps: int
    samples_per_s: float
    hours: float
    validations: list[tuple[int, float, float]]

    @property
    def best(self) -> float:
        """The lowest RMSE of a validation."""
        return min(rmse for *_, rmse in self.validations)

    def reaching(self, target: float) -> tuple[int, float] | None:
        """Return samples and hours at the first validation that is no worse than a target, None if none is."""
        return next(((samples, hours) for samples, hours, rmse in self.validations if rmse <= target), None)


def read_course(run_dir: Path) -> Course:
    """Return what a run reached. Raises RunDirectoryError if it was never validated or does not tell how it ran."""
    run = read_run(run_dir)
    validated = {line["step"]: line for line in run.of_kind("validation") if line.get("rmse") is not None}
    if not validated:
        raise RunDirectoryError(
            "was never validated", where=run_dir, cure="train with train.evaluate_every_steps and a validation split"
        )
    told: dict[str, Any] = run.environment.get("derived", {})
    recipe = run.environment.get("recipe", {})
    try:
        rule = recipe["schedule"]["lr_scaling"]
        ranks, batch, rate = told["world_size"], told["global_batch_size"], told["peak_learning_rate"]
    except KeyError as error:
        raise RunDirectoryError(
            f"tells no {error}", where=run_dir / "environment.json", cure="train with this version"
        ) from error
    seconds, hours_at, validations = 0.0, {0: 0.0}, []
    for line in run.of_kind("train"):
        seconds += line["seconds"]
        hours_at[line["step"]] = seconds / 3600
    for step, line in sorted(validated.items()):
        spent = max((hours for at, hours in hours_at.items() if at <= step), default=0.0)
        validations.append((line["samples"], spent, line["rmse"]))
    samples = max(line["samples"] for line in run.lines)
    return Course(
        run.name,
        ranks,
        batch,
        rule,
        rate,
        max(line["step"] for line in run.lines),
        samples / seconds if seconds else 0.0,
        seconds / 3600,
        validations,
    )


def quality_grid(courses: list[Course], target: float | None = None) -> Grid:
    """Return the table of runs by rule and batch. The target is the RMSE that all have reached, if not given."""
    aim = max(course.best for course in courses) if target is None else target
    ordered = sorted(courses, key=lambda course: (course.rule, course.global_batch, course.ranks))
    least = min(course.best for course in courses)
    reached = [course.reaching(aim) for course in ordered]
    soonest = min((at[1] for at in reached if at), default=None)
    rows = []
    for course, at in zip(ordered, reached, strict=True):
        plain = [
            str(course.ranks),
            f"{course.global_batch:,}",
            course.rule,
            f"{course.peak_rate:.3g}",
            f"{course.steps:,}",
            f"{course.validations[-1][0] / 1e6:.3g}",
            f"{course.hours:.3g}",
            f"{course.samples_per_s:,.0f}",
        ]
        cells = [Cell(text) for text in plain]
        cells += [Cell(f"{course.best:.2f}", best=course.best == least), Cell(f"{course.validations[-1][2]:.2f}")]
        cells += [
            Cell(f"{at[0] / 1e6:.3g}" if at else UNDEFINED),
            Cell(f"{at[1]:.3g}" if at else UNDEFINED, best=at is not None and at[1] == soonest),
        ]
        rows.append((course.name, cells))
    notes = (
        f"Target: RMSE {aim:.2f} on the validation split"
        + (", which every run has reached." if target is None else "."),
        "Hours are those of training steps, without validation and checkpoints.",
    )
    return Grid("Quality against scale", _HEADING, rows, notes)


def write_quality(courses: list[Course], grid: Grid, target: float | None, out: Path) -> list[Path]:
    """Write quality.md, .csv, .tex, .html and, with matplotlib, .png into a folder. Raises OutputError."""
    written = write_tables([grid], "Quality against scale", out, "quality")
    if not can_draw():
        return written
    from hpc_sr.report.figures.quality import draw_quality

    figure = out / "quality.png"
    with telling(figure, OutputError, "written"):
        write_atomically(figure, draw_quality(courses, target))
    return [*written, figure]
