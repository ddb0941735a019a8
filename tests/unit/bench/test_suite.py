"""All benchmarks as one table, and two tables compared."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_sr.bench.__main__ import LINES, main

Bench = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bench:
    """Return a function that runs `python -m hpc_sr.bench` in this process: its exit code, output and errors."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bench", *map(str, arguments)])
        return main(), *capsys.readouterr()

    return run


def table(path: Path, **ratios: float | None) -> Path:
    path.write_text(json.dumps({"lines": [{"name": name, "ratio": ratio} for name, ratio in ratios.items()]}))
    return path


def test_a_benchmark_that_was_run_and_one_that_could_not_be(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, out, err = bench("run", "--only", "two ranks", "checkpoint", "--out", tmp_path / "told.json")
    assert code == 0, err
    told = {line["name"]: line for line in json.loads((tmp_path / "told.json").read_text())["lines"]}
    assert told.keys() == {"two ranks", "checkpoint"}
    assert told["two ranks"]["ratio"] is None and told["two ranks"]["reason"] == "there is no mpirun"
    detail = told["checkpoint"]["detail"]
    assert told["checkpoint"]["ratio"] == detail["ratio_to_raw"] > 0
    assert detail["parameters"] == 1_821_031 and detail["size_bytes"] > 3 * 4 * detail["parameters"]
    assert out.splitlines()[0].split() == ["benchmark", "beside", "ratio", "aim"]


@pytest.mark.parametrize(
    ("after", "code", "told"),
    [
        ({"step": 0.91, "loader": 0.95}, 0, ["step           1.000   0.910", "loader         0.900   0.950"]),
        ({"step": 0.89, "loader": 0.95}, 1, ["step           1.000   0.890 fell", "loader         0.900   0.950"]),
        ({"step": 1.0, "loader": None}, 1, ["step           1.000   1.000", "loader         0.900       - fell"]),
    ],
)
def test_a_ratio_that_fell_by_more_than_a_tenth_is_told(
    bench: Bench, tmp_path: Path, after: dict, code: int, told: list
) -> None:
    before = table(tmp_path / "before.json", step=1.0, loader=0.9)
    ended, out, _ = bench("compare", before, table(tmp_path / "after.json", **after))
    assert (ended, out.splitlines()) == (code, told)


def test_what_is_no_table_is_named(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    code, _, err = bench("compare", tmp_path / "other.json", tmp_path / "absent.json")
    assert code == 2 and "other.json" in err and "bench run" in err
    assert len({line.name for line in LINES}) == len(LINES)


def test_lines_for_a_gpu_are_refused_without_one_and_run_anywhere_at_tiny_sizes(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, _, err = bench("gpu")
    assert code == 2 and "torch sees no GPU" in err and "--tiny" in err
    code, out, err = bench("gpu", "--tiny", "--only", "determinism", "--out", tmp_path / "told.json")
    assert code == 0, err
    (determinism,) = json.loads((tmp_path / "told.json").read_text())["lines"]
    assert determinism["detail"]["resumed_to_the_bit"] is True and determinism["ratio"] > 0
    assert "resumed to the bit" in out.splitlines()[1]
