"""All benchmarks that fit into minutes, as one table: what is measured beside the machine's limit in the same run.

    python -m hpc_sr.bench run [--out FILE.json] [--only loader step ...]
    python -m hpc_sr.bench gpu [--out FILE.json] [--only step determinism ...] [--product SAFE]
    python -m hpc_sr.bench compare BEFORE.json AFTER.json

A ratio of 1 is the limit. `gpu` is what only a GPU can tell; `--tiny` tries its lines anywhere. `compare` names the
ratios that fell by more than a tenth. It ends with 1 if there are any, with 2 for files that are none of these.
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

import torch

from hpc_sr.bench.pairs import machine
from hpc_sr.disk import read_json, write_atomically
from hpc_sr.errors import MissingComponentError, RunDirectoryError
from hpc_sr.logs import track

#: How much a ratio may fall before it is told.
_FALL = 0.9
_SIZE_10M_PX = 2160
_PRODUCT = "PRODUCT"


@dataclass(frozen=True)
class Line:
    """A benchmark: what it is beside, its command, what of its JSON is the ratio to the limit, and what is aimed at.

    `tells` is what else of the JSON the table shows.
    """

    name: str
    limit: str
    command: tuple[str, ...]
    ratio: Callable[[dict[str, Any]], float | None]
    aim: float
    needs: str | None = None
    tells: Callable[[dict[str, Any]], str] = lambda told: ""


LINES: tuple[Line, ...] = (
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


def gpu_lines(tiny: bool = False) -> tuple[Line, ...]:
    """Return what only a GPU can tell; `tiny` ones are as small as they can be, to try them without one."""
    wide = ("--width", "16") if tiny else ("--width", "128")
    batches, few = (("2", "4"), ("--steps", "2", "--rounds", "1")) if tiny else (("128", "1024"), ())

    def step(name: str, limit: str, batch: str, ratio: str, aim: float, *more: str) -> Line:
        command = ("step", *wide, "--batch", batch, "--stage", "device", *more, *few)
        samples = "trainer_samples_per_s"
        return Line(
            name, limit, command, lambda told: told[ratio], aim, tells=lambda told: f"{told[samples]:.0f} samples/s"
        )

    return (
        step("step", "bare loop", batches[0], "ratio_to_bare", 0.98),
        step("compiled step", "the GPU's peak", batches[1], "fraction_of_peak", 0.45, "--compile"),
        Line(
            "determinism",
            "any algorithms",
            ("repeat", *wide, "--batch", batches[0], *few),
            lambda told: 1 / told["repeating_over_free"] if told["resumed_to_the_bit"] else 0.0,
            0.95,
            tells=lambda told: "resumed to the bit" if told["resumed_to_the_bit"] else "a resumed run differs",
        ),
        Line(
            "full tile",
            "bare forward passes",
            ("infer", "--product", _PRODUCT, "--rounds", "1"),
            lambda told: told["bare_forward_share"],
            0.95,
            tells=lambda told: f"{told['seconds']:.1f} s",
        ),
    )


def main() -> int:
    """Run or compare; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="measure and print the table")
    run.add_argument("--out", type=Path, help="keep it as JSON")
    run.add_argument("--only", nargs="+", choices=[line.name for line in LINES], metavar="NAME")
    gpu = verbs.add_parser("gpu", help="the same of what only a GPU can tell")
    gpu.add_argument("--out", type=Path, help="keep it as JSON")
    gpu.add_argument("--only", nargs="+", choices=[line.name for line in gpu_lines()], metavar="NAME")
    gpu.add_argument("--product", type=Path, help="a full tile [made up, which takes minutes]")
    gpu.add_argument("--tiny", action="store_true", help="try the lines at tiny sizes, with or without a GPU")
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
    if options.verb == "gpu" and not options.tiny and not torch.cuda.is_available():
        print(MissingComponentError("torch sees no GPU", cure="run it on one, or try --tiny"), file=sys.stderr)
        return 2
    chosen, product, size_px = LINES, None, _SIZE_10M_PX
    if options.verb == "gpu":
        chosen, product, size_px = gpu_lines(options.tiny), options.product, 240 if options.tiny else 10980
    lines = _measure([line for line in chosen if not options.only or line.name in options.only], product, size_px)
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


def _measure(lines: list[Line], product: Path | None, size_px: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        made = product is None and any(_PRODUCT in line.command for line in lines)
        path = _product(Path(folder), size_px) if made else str(product)
        return [_line(line, path) for line in track(lines, "benchmarks", shown=True)]


def _product(folder: Path, size_px: int) -> str:
    """Return a made-up product: what decoding takes depends on its size alone."""
    size = ("--size-10m", str(size_px))
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
    ratio = line.ratio(detail)
    told |= {"ratio": ratio, "detail": detail, "told": line.tells(detail)}
    return told if ratio is not None else {**told, "reason": "the limit of this device is not known"}


def _table(lines: list[dict[str, Any]]) -> str:
    rows = [("benchmark", "beside", "ratio", "aim", "")]
    for line in lines:
        if line["ratio"] is None:
            rows.append((line["name"], line["limit"], "-", f"{line['aim']:.2f}", line["reason"]))
        else:
            said = " ".join(filter(None, (line.get("told"), "" if line["ratio"] >= line["aim"] else "missed")))
            rows.append((line["name"], line["limit"], f"{line['ratio']:.3f}", f"{line['aim']:.2f}", said))
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
