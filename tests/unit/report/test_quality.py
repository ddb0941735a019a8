"""Quality against scale: what is read off runs, and what the table and the figure make of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import run_cli

from hpc_sr.errors import RunDirectoryError
from hpc_sr.report.quality import quality_grid, read_course
from hpc_sr.report.rendering import UNDEFINED


def run(folder: Path, ranks: int, rmse: list[float], rule: str = "linear", seconds: float = 1800.0) -> Path:
    """Write a run that was logged every 10 steps of 8 samples a rank, and validated every 20."""
    folder.mkdir()
    lines = []
    for number in range(1, 2 * len(rmse) + 1):
        at = {"step": 10 * number, "samples": 80 * ranks * number}
        lines.append({"kind": "train", **at, "seconds": seconds, "loss": 1.0})
        if number % 2 == 0:
            lines.append({"kind": "validation", **at, "rmse": rmse[number // 2 - 1]})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    derived = {"world_size": ranks, "global_batch_size": 8 * ranks, "peak_learning_rate": 1e-4 * ranks}
    told = {"derived": derived, "recipe": {"schedule": {"lr_scaling": rule}}}
    (folder / "environment.json").write_text(json.dumps(told))
    (folder / "recipe.yaml").write_text("name: x\n")
    return folder


def test_a_course_is_read_off_a_run(tmp_path: Path) -> None:
    course = read_course(run(tmp_path / "four", 4, [50.0, 40.0, 45.0]))
    assert (course.name, course.ranks, course.global_batch, course.rule, course.steps) == ("four", 4, 32, "linear", 60)
    assert course.validations == [(640, 1.0, 50.0), (1280, 2.0, 40.0), (1920, 3.0, 45.0)]
    assert (course.best, course.hours) == (40.0, 3.0)
    assert course.samples_per_s == pytest.approx(1920 / 10_800)
    assert [course.reaching(target) for target in (50.0, 44.0, 39.0)] == [(640, 1.0), (1280, 2.0), None]


def test_the_table_is_by_rule_and_batch_with_the_time_to_what_all_reached(tmp_path: Path) -> None:
    told = [
        run(tmp_path / "b", 4, [50.0, 42.0], "sqrt", 600.0),
        run(tmp_path / "a", 1, [60.0, 44.0]),
        run(tmp_path / "c", 2, [43.0, 40.0]),
    ]
    courses = [read_course(one) for one in told]
    grid = quality_grid(courses)
    assert [name for name, _ in grid.rows] == ["a", "c", "b"]
    cells = {name: dict(zip(grid.heading[1:], row, strict=True)) for name, row in grid.rows}
    assert "RMSE 44.00" in grid.notes[0] and "every run has reached" in grid.notes[0]
    assert [cells[name]["hours to target ↓"].text for name in "abc"] == ["2", "0.667", "1"]
    assert [cells[name]["best RMSE ↓"].best for name in "abc"] == [False, False, True]
    assert [cells[name]["hours to target ↓"].best for name in "abc"] == [False, True, False]
    strict = quality_grid(courses, 41.0)
    assert [row[-1].text for _, row in strict.rows] == [UNDEFINED, "2", UNDEFINED]


def test_the_command_writes_tables_and_a_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [run(tmp_path / f"ranks_{n}", n, [60.0 - n, 50.0 + n]) for n in (1, 2, 4)]
    assert not run_cli("quality", *runs, "--out", tmp_path / "told", "--target", 53)
    assert "ranks_4" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "told").iterdir()}
    assert names == {f"quality.{kind}" for kind in ("md", "csv", "tex", "html", "png")}
    assert "| 2 | 16 | linear | 0.0002 | 40 |" in (tmp_path / "told" / "quality.md").read_text()


def test_a_run_without_validations_is_named(tmp_path: Path) -> None:
    folder = run(tmp_path / "none", 1, [])
    (folder / "metrics.jsonl").write_text(json.dumps({"kind": "train", "step": 1, "samples": 8, "seconds": 1}) + "\n")
    with pytest.raises(RunDirectoryError, match="was never validated"):
        read_course(folder)
