"""A run directory as plain data: recipe text, environment, metric lines, evaluations and picture panels."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpc_sr.errors import RunDirectoryError
from hpc_sr.logs import read_json_lines

PROTOCOLS = ("synthesis", "consistency")
EVALUATION_SCHEMA = 1

#: Arrays (C, h, w) of reflectance by name, with `bands` and `guide_bands` naming their channels.
Panels = dict[str, np.ndarray]


@dataclass(frozen=True)
class Run:
    """What a run has left behind; `evaluations` and `panels` hold the protocols and scenes that were evaluated.

    `resumed` are the steps at which the run has gone on after a stop, by the log of rank 0.
    """

    name: str
    recipe: str
    environment: dict[str, Any]
    lines: list[dict[str, Any]]
    resumed: list[int]
    evaluations: dict[str, dict[str, Any]]
    panels: dict[tuple[str, str], Panels]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Return the metric lines of a kind ("train", "validation") in order of step."""
        return [line for line in self.lines if line.get("kind") == kind]


def read_run(run_dir: Path) -> Run:
    """Return the run in a directory. environment.json, the log, evaluations and panels may be absent.

    Raises RunDirectoryError, naming the file, if recipe.yaml or metrics.jsonl is absent (then it is no run directory)
    or any of them cannot be understood.
    """
    for name in ("recipe.yaml", "metrics.jsonl"):
        if not (run_dir / name).is_file():
            raise RunDirectoryError(
                f"has no {name}, so it is no run directory", where=run_dir, cure="give the folder that training made"
            )
    evaluations = {
        protocol: _read_evaluation(run_dir / "evaluate" / f"{protocol}.json")
        for protocol in PROTOCOLS
        if (run_dir / "evaluate" / f"{protocol}.json").is_file()
    }
    panels = {}
    for protocol, evaluation in evaluations.items():
        for scene in evaluation["scenes"]:
            path = run_dir / "evaluate" / f"panels_{protocol}_{scene['scene']}.npz"
            if path.is_file():
                panels[protocol, scene["scene"]] = _read_panels(path)
    environment = run_dir / "environment.json"
    return Run(
        name=run_dir.resolve().name,
        recipe=(run_dir / "recipe.yaml").read_text(encoding="utf-8", errors="replace"),
        environment=read_json_object(environment) if environment.is_file() else {},
        lines=read_json_lines(run_dir / "metrics.jsonl"),
        resumed=_read_resumptions(run_dir / "log" / "rank_0000.log"),
        evaluations=evaluations,
        panels=panels,
    )


def _read_resumptions(log: Path) -> list[int]:
    if not log.is_file():
        return []
    found = re.findall(r"resumed from \S+ at step (\d+)", log.read_text(encoding="utf-8", errors="replace"))
    return [int(step) for step in found]


def _read_evaluation(path: Path) -> dict[str, Any]:
    evaluation = read_json_object(path)
    if evaluation.get("schema") != EVALUATION_SCHEMA:
        raise RunDirectoryError(
            f"is of schema {evaluation.get('schema')!r}, known is {EVALUATION_SCHEMA}", where=path,
            cure="evaluate the run again with this version",
        )  # fmt: skip
    return evaluation


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raises RunDirectoryError if it cannot be read or holds something else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"cannot be read ({error})", where=path, cure="remove it or redo it") from error
    if not isinstance(data, dict):
        raise RunDirectoryError(f"holds a {type(data).__name__}, not an object", where=path, cure="write it again")
    return data


def _read_panels(path: Path) -> Panels:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise RunDirectoryError(f"cannot be read ({error})", where=path, cure="evaluate the run again") from error
