"""All benchmarks that fit into minutes, as one table: what is measured beside the machine's limit in the same run.

    python -m hpc_sr.bench run [--out FILE.json] [--only loader step ...]
    python -m hpc_sr.bench compare BEFORE.json AFTER.json

A ratio of 1 is the limit. `compare` names the ratios that fell by more than a tenth. It ends with 1 if there are any,
with 2 for files that are none of these.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hpc_sr.bench.pairs import machine
from hpc_sr.disk import read_json, write_atomically
from hpc_sr.errors import RunDirectoryError
from hpc_sr.logs import track

#: How much a ratio may fall before it is told.
_FALL = 0.9
_SIZE_10M_PX = 2160
_PRODUCT = "PRODUCT"


@dataclass(frozen=True)
class Line:
    """A benchmark: what it is beside, its command, what of its JSON is the ratio to the limit, and what is aimed at."""

    name: str
    limit: str
    command: tuple[str, ...]
    ratio: Callable[[dict[str, Any]], float]
    aim: float
    needs: str | None = None


LINES = (
    Line("loader", "numpy.memmap gather", ("loader", "--patches", "4096"), lambda told: told["ratio_to_memmap"], 0.9),
    Line("step", "bare loop", ("step", "--steps", "10", "--rounds", "5"), lambda told: told["ratio_to_bare"], 0.98),
    Line(
        "two ranks",
        "two lone ranks side by side",
        ("backends", "--steps", "8", "--rounds", "2", "--turns", "2"),
        lambda told: min(told["ratio_to_side_by_side"].values()),
        0.97,
        needs="mpirun",
    ),
    Line("checkpoint", "raw write and fsync", ("checkpoint",), lambda told: told["ratio_to_raw"], 0.6),
    Line(
        "prepare",
        "decoding its bands",
        ("prepare", "--product", _PRODUCT),
        lambda told: 1 / told["prepare_over_decode"],
        1 / 1.2,
    ),
    Line(
        "infer",
        "bare forward passes",
        ("infer", "--product", _PRODUCT, "--size-px", "1440", "--rounds", "1"),
        lambda told: told["bare_forward_share"],
        0.95,
    ),
    Line(
        "evaluate",
        "degrading and predicting",
        ("evaluate", "--product", _PRODUCT, "--width", "48", "--rounds", "1"),
        lambda told: 1 / told["synthesis"]["second_over_first"],
        1 / 1.2,
    ),
    Line(
        "guided base",
        "the same network without",
        ("bases", "--width", "48", "--rounds", "3"),
        lambda told: 1 / told["second_over_first"],
        0.8,
    ),
)


def main() -> int:
    """Run or compare; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="measure and print the table")
    run.add_argument("--out", type=Path, help="keep it as JSON")
    run.add_argument("--only", nargs="+", choices=[line.name for line in LINES], metavar="NAME")
    compare = verbs.add_parser("compare", help="name the ratios that fell")
    compare.add_argument("before", type=Path)
    compare.add_argument("after", type=Path)
    options = parser.parse_args()
    if options.verb == "compare":
        try:
            return _compare(options.before, options.after)
        except RunDirectoryError as error:
            print(error, file=sys.stderr)
            return 2
    lines = _measure([line for line in LINES if not options.only or line.name in options.only])
    told = {
        "bench": "suite",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "lines": lines,
    }
    if options.out:
        write_atomically(options.out, json.dumps(told, indent=1) + "\n")
    print(_table(lines))
    return 0


def _measure(lines: list[Line]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        product = _product(Path(folder)) if any(_PRODUCT in line.command for line in lines) else ""
        return [_line(line, product) for line in track(lines, "benchmarks", shown=True)]


def _product(folder: Path) -> str:
    """Return a made-up product: what decoding takes depends on its size alone."""
    size = ("--size-10m", str(_SIZE_10M_PX))
    command = (sys.executable, "-m", "hpc_sr", "synthetic", str(folder), *size)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip().splitlines()[-1]


def _line(line: Line, product: str) -> dict[str, Any]:
    """Return what a benchmark measured, or why it did not."""
    told: dict[str, Any] = {"name": line.name, "limit": line.limit, "aim": line.aim}
    if line.needs and shutil.which(line.needs) is None:
        return {**told, "ratio": None, "reason": f"there is no {line.needs}"}
    module, *arguments = (product if part == _PRODUCT else part for part in line.command)
    command = (sys.executable, "-m", f"hpc_sr.bench.{module}", *arguments)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {**told, "ratio": None, "reason": (done.stderr.strip().splitlines() or ["it failed"])[-1]}
    detail = json.loads(done.stdout[done.stdout.index("{") :])
    return {**told, "ratio": line.ratio(detail), "detail": detail}


def _table(lines: list[dict[str, Any]]) -> str:
    rows = [("benchmark", "beside", "ratio", "aim", "")]
    for line in lines:
        if line["ratio"] is None:
            rows.append((line["name"], line["limit"], "-", f"{line['aim']:.2f}", line["reason"]))
        else:
            missed = "" if line["ratio"] >= line["aim"] else "missed"
            rows.append((line["name"], line["limit"], f"{line['ratio']:.3f}", f"{line['aim']:.2f}", missed))
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _compare(before: Path, after: Path) -> int:
    """Print both ratios of every benchmark; return 1 if one fell by more than a tenth."""
    earlier, later = (_ratios(path) for path in (before, after))
    fallen = 0
    for name in [*earlier, *(name for name in later if name not in earlier)]:
        old, new = earlier.get(name), later.get(name)
        fell = old is not None and (new is None or new < _FALL * old)
        fallen += fell
        told = ["-" if ratio is None else f"{ratio:.3f}" for ratio in (old, new)]
        print(f"{name:12} {told[0]:>7} {told[1]:>7} {'fell' if fell else ''}".rstrip())
    return int(fallen > 0)


def _ratios(path: Path) -> dict[str, float | None]:
    cure = "give what `python -m hpc_sr.bench run --out FILE` wrote"
    content = read_json(path, RunDirectoryError, cure)
    try:
        return {line["name"]: line["ratio"] for line in content["lines"]}
    except (KeyError, TypeError) as error:
        raise RunDirectoryError("is no table of benchmarks", where=path, cure=cure) from error


if __name__ == "__main__":
    sys.exit(main())
