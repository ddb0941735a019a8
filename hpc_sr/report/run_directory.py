"""A run directory as plain data: recipe text, environment, metric lines, evaluations and picture panels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpc_sr.disk import read_arrays, read_file, read_json, telling
from hpc_sr.errors import RunDirectoryError
from hpc_sr.logs import read_json_lines

PROTOCOLS = ("synthesis", "consistency", "truth")
EVALUATION_SCHEMA = 2
#: What a rank's time is told in, as shares.
TIME_PARTS = ("compute", "communication", "data_wait")
#: What every evaluation has.
_KEYS = (
    "protocol",
    "task",
    "scale",
    "degradation",
    "level",
    "bands",
    "constants",
    "model",
    "compared",
    "scenes",
    "mean",
    "ratio_to_bicubic",
)

#: Reflectance (C, h, w) of a scene: `method_0`, `method_1`, ... in the order of `methods`, `input`, and where there
#: are `guide` and `truth`; `bands`, `band_nm`, `guide_bands` and `guide_nm` tell their channels.
Panels = dict[str, np.ndarray]


@dataclass(frozen=True)
class Run:
    """What a run has left behind; `evaluations`, `panels` and `worst` hold the protocols and scenes evaluated.

    `recipe` is None and `lines` are empty where nothing was trained. `resumed` are the steps at which the run has
    gone on after a stop, by the log of rank 0. `worst` are the places where networks err most: `rows` and `columns` of
    their corners, `truth` (places, C, h, w), `estimates` (places, methods, C, h, w). `native` holds, by evaluation, a
    part of one scene at 10 m, before and after.
    """

    folder: Path
    name: str
    recipe: str | None
    environment: dict[str, Any]
    lines: list[dict[str, Any]]
    resumed: list[int]
    evaluations: dict[str, dict[str, Any]]
    panels: dict[tuple[str, str], Panels]
    worst: dict[tuple[str, str], Panels]
    native: dict[str, Panels]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Return the metric lines of a kind ("train", "validation") in order of step."""
        return [line for line in self.lines if line.get("kind") == kind]


def read_run(run_dir: Path) -> Run:
    """Return the run in a directory, or what was evaluated without training: a folder that holds only evaluate/.

    environment.json, the log, evaluations and panels of a run may be absent. Raises RunDirectoryError, naming the
    file, if recipe.yaml or metrics.jsonl is absent (both may be, where there is an evaluation) or any file cannot be
    understood.
    """
    evaluated = run_dir / "evaluate"
    with telling(run_dir, RunDirectoryError, "read"):
        files = [
            path
            for protocol in PROTOCOLS
            # Of a task with several targets each has an evaluation of its own: synthesis_target20.json.
            for path in (evaluated / f"{protocol}.json", *sorted(evaluated.glob(f"{protocol}_*.json")))
        ]
    evaluations = {path.stem: _read_evaluation(path) | {"label": path.stem} for path in files if path.is_file()}
    recipe, metrics = run_dir / "recipe.yaml", run_dir / "metrics.jsonl"
    trained = recipe.is_file() or metrics.is_file()
    missing = [path.name for path in (recipe, metrics) if not path.is_file()]
    if missing and (trained or not evaluations):
        raise RunDirectoryError(
            f"has no {missing[0]}{'' if trained else ' and no evaluate/*.json'}, so there is no run to tell of",
            where=run_dir,
            cure="give the folder that training or evaluation made",
        )
    panels, worst = {}, {}
    for protocol, evaluation in evaluations.items():
        for scene in evaluation["scenes"]:
            key = protocol, scene["scene"]
            path, places = (evaluated / f"{kind}_{'_'.join(key)}.npz" for kind in ("panels", "worst"))
            if path.is_file():
                panels[key] = _read_panels(path)
            if places.is_file():
                needed = ("bands", "methods", "rows", "columns", "truth", "estimates")
                worst[key] = read_arrays(places, needed, RunDirectoryError, "evaluate the run again")
    native: dict[str, Panels] = {}
    for protocol, evaluation in evaluations.items():
        label = protocol.replace(evaluation["protocol"], "native", 1)
        found = (evaluated / f"{label}_{scene['scene']}.npz" for scene in evaluation["scenes"])
        shown = next((path for path in found if path.is_file()), None)
        if shown is not None and label not in native:
            native[label] = _read_panels(shown)
    environment = run_dir / "environment.json"
    return Run(
        folder=run_dir,
        name=run_dir.resolve().name,
        recipe=_read_text(recipe) if trained else None,
        environment=read_json_object(environment) if environment.is_file() else {},
        lines=read_json_lines(metrics) if trained else [],
        resumed=_read_resumptions(run_dir / "log" / "rank_0000.log"),
        evaluations=evaluations,
        panels=panels,
        worst=worst,
        native=native,
    )


def _read_resumptions(log: Path) -> list[int]:
    if not log.is_file():
        return []
    found = re.findall(r"resumed from \S+ at step (\d+)", _read_text(log))
    return [int(step) for step in found]


def _read_text(path: Path) -> str:
    return read_file(path, RunDirectoryError, "remove it or redo it").decode("utf-8", "replace")


def _read_evaluation(path: Path) -> dict[str, Any]:
    evaluation = read_json_object(path)
    if evaluation.get("schema") != EVALUATION_SCHEMA:
        raise RunDirectoryError(
            f"is of schema {evaluation.get('schema')!r}, known is {EVALUATION_SCHEMA}",
            where=path,
            cure="evaluate the run again with this version",
        )
    missing = [key for key in _KEYS if key not in evaluation]
    if missing:
        raise RunDirectoryError(f"has no {missing[0]!r}", where=path, cure="evaluate the run again")
    return evaluation


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raises RunDirectoryError if it cannot be read or holds something else."""
    return read_json(path, RunDirectoryError, "remove it or redo it")


def _read_panels(path: Path) -> Panels:
    panels = read_arrays(path, None, RunDirectoryError, "evaluate the run again")
    needed = ["bands", "input", "methods", *(f"method_{index}" for index in range(len(panels.get("methods", ()))))]
    missing = [key for key in needed if key not in panels]
    if missing:
        raise RunDirectoryError(f"has no array {missing[0]!r}", where=path, cure="evaluate the run again")
    return panels


def estimates(panels: Panels) -> dict[str, np.ndarray]:
    """Return the estimate (C, h, w) of each method of a scene, in their order."""
    return {str(method): panels[f"method_{index}"] for index, method in enumerate(panels["methods"])}


def networks_of(evaluation: dict[str, Any]) -> list[str]:
    """Return the name of the network that was evaluated, in a list that is empty where none took part."""
    return [evaluation["model"]["family"]] if evaluation["model"] else []
