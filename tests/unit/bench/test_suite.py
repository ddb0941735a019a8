"""All benchmarks as one table, and two tables compared."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hpc_sr.bench.__main__ import LINES


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hpc_sr.bench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def table(path: Path, **ratios: float | None) -> Path:
    path.write_text(json.dumps({"lines": [{"name": name, "ratio": ratio} for name, ratio in ratios.items()]}))
    return path


def test_a_benchmark_that_was_run_and_one_that_could_not_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = bench("run", "--only", "two ranks", "checkpoint", "--out", tmp_path / "told.json")
    assert done.returncode == 0, done.stderr
    told = {line["name"]: line for line in json.loads((tmp_path / "told.json").read_text())["lines"]}
    assert told.keys() == {"two ranks", "checkpoint"}
    assert told["two ranks"]["ratio"] is None and told["two ranks"]["reason"] == "there is no mpirun"
    detail = told["checkpoint"]["detail"]
    assert told["checkpoint"]["ratio"] == detail["ratio_to_raw"] > 0
    assert detail["parameters"] == 1_821_031 and detail["size_bytes"] > 3 * 4 * detail["parameters"]
    assert done.stdout.splitlines()[0].split() == ["benchmark", "beside", "ratio", "aim"]


@pytest.mark.parametrize(
    ("after", "code", "told"),
    [
        ({"step": 0.91, "loader": 0.95}, 0, ["step           1.000   0.910", "loader         0.900   0.950"]),
        ({"step": 0.89, "loader": 0.95}, 1, ["step           1.000   0.890 fell", "loader         0.900   0.950"]),
        ({"step": 1.0, "loader": None}, 1, ["step           1.000   1.000", "loader         0.900       - fell"]),
    ],
)
def test_a_ratio_that_fell_by_more_than_a_tenth_is_told(tmp_path: Path, after: dict, code: int, told: list) -> None:
    before = table(tmp_path / "before.json", step=1.0, loader=0.9)
    done = bench("compare", before, table(tmp_path / "after.json", **after))
    assert (done.returncode, done.stdout.splitlines()) == (code, told)


def test_what_is_no_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    done = bench("compare", tmp_path / "other.json", tmp_path / "absent.json")
    assert done.returncode == 2 and "other.json" in done.stderr and "bench run" in done.stderr
    assert len({line.name for line in LINES}) == len(LINES)
