"""Evaluations of many runs as one evaluation whose methods are the runs. What shows one evaluation can show them all.

Only runs that were evaluated alike are comparable: same protocol, task, degradation and level, on the same scenes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpc_sr.report.figures.colours import CLASSICAL
from hpc_sr.report.run_directory import Panels, Run, estimates, networks_of
from hpc_sr.report.tables import Evaluation

#: What must be the same for two evaluations to stand in one table, besides the scenes.
_CONDITIONS = ("protocol", "task", "scale", "degradation", "level", "bands")
#: Parts of an evaluation that hold an entry a method.
_BY_METHOD = ("mean", "intervals", "ratio_to_bicubic")


@dataclass(frozen=True)
class Merged:
    """Evaluations of runs that are comparable.

    `methods` are the runs' own names for what `evaluation` calls by its run, {run: {name in the run: name here}};
    `networks` are the runs with a network, by the name of the run.
    """

    runs: dict[str, Run]
    evaluation: Evaluation
    methods: dict[str, dict[str, str]]
    networks: list[str]

    @property
    def scenes(self) -> list[str]:
        return [scene["scene"] for scene in self.evaluation["scenes"]]


def named_runs(runs: list[Run]) -> dict[str, Run]:
    """Return the runs by a name that no other one has: the folder's, with its parent's where two are alike."""
    count = Counter(run.name for run in runs)
    named: dict[str, Run] = {}
    for run in runs:
        alone = count[run.name] == 1 and run.name not in CLASSICAL
        name = run.name if alone else f"{run.folder.resolve().parent.name}/{run.name}"
        same = sum(other == name or other.startswith(f"{name} (") for other in named)
        named[f"{name} ({same + 1})" if same else name] = run
    return named


def merge_comparable(runs: dict[str, Run]) -> list[Merged]:
    """Return the evaluations of the runs, those that are comparable merged, in the order of runs and protocols."""
    groups: dict[tuple, dict[str, Evaluation]] = {}
    for name, run in runs.items():
        for evaluation in run.evaluations.values():
            groups.setdefault(_conditions(evaluation), {})[name] = evaluation
    return [_merged({name: runs[name] for name in group}, group) for group in groups.values()]


def common_panels(merged: Merged) -> tuple[str, Panels] | None:
    """Return the first scene of which most runs have panels of the same pixels, and these panels in one."""
    label: str = merged.evaluation["label" if "label" in merged.evaluation else "protocol"]
    best = None
    for scene in merged.scenes:
        found = {name: run.panels[label, scene] for name, run in merged.runs.items() if (label, scene) in run.panels}
        if not found:
            continue
        first = next(iter(found.values()))
        alike = {name: panels for name, panels in found.items() if _same_pixels(first, panels)}
        if best is None or len(alike) > len(best[1]):
            best = scene, alike
    if best is None:
        return None
    scene, alike = best
    images = {
        merged.methods[name][method]: image
        for name, panels in alike.items()
        for method, image in estimates(panels).items()
        if method in merged.methods[name]
    }
    ordered = [method for method in merged.evaluation["mean"] if method in images]
    shared = {
        key: values
        for panels in reversed(alike.values())
        for key, values in panels.items()
        if not key.startswith("method")
    }
    arrays = {f"method_{index}": images[method] for index, method in enumerate(ordered)}
    return scene, {**shared, "methods": np.array(ordered), **arrays}


def _conditions(evaluation: Evaluation) -> tuple:
    scenes = sorted((one["scene"], str(one["size_px"]), one.get("patches", 0)) for one in evaluation["scenes"])
    return (*(str(evaluation[key]) for key in _CONDITIONS), tuple(scenes))


def _merged(runs: dict[str, Run], evaluations: dict[str, Evaluation]) -> Merged:
    """Return one evaluation. A classical method that several runs were compared with is taken from the first."""
    methods: dict[str, dict[str, str]] = {}
    for name, evaluation in evaluations.items():
        ours = networks_of(evaluation)
        methods[name] = {
            method: name if method in ours else method if method in CLASSICAL else f"{name}: {method}"
            for method in evaluation["mean"]
        }
    named = list(dict.fromkeys(label for labels in methods.values() for label in labels.values()))
    order = [method for method in CLASSICAL if method in named] + [name for name in named if name not in CLASSICAL]
    source: dict[str, tuple[str, str]] = {}
    for name, labels in methods.items():
        for method, label in labels.items():
            source.setdefault(label, (name, method))

    def gathered(part_of: dict[str, Any]) -> dict[str, Any]:
        parts = {label: (part_of[name] or {}).get(method) for label, (name, method) in source.items()}
        return {label: parts[label] for label in order if parts[label] is not None}

    first = next(iter(evaluations.values()))
    by_scene = {name: {one["scene"]: one for one in evaluation["scenes"]} for name, evaluation in evaluations.items()}
    scenes = [
        scene
        | {
            key: gathered({name: scenes[scene["scene"]].get(key) for name, scenes in by_scene.items()})
            for key in ("methods", "spectra", "seconds")
        }
        for scene in first["scenes"]
    ]
    parts = {key: gathered({name: one.get(key) for name, one in evaluations.items()}) for key in _BY_METHOD}
    compared = "bicubic" if "bicubic" in order else order[0]
    merged = {**first, **parts, "scenes": scenes, "paired": {}, "compared": compared, "model": None}
    merged["precision"] = _precisions(evaluations)
    networks = [name for name, evaluation in evaluations.items() if networks_of(evaluation)]
    return Merged(runs, merged, methods, networks)


def _precisions(evaluations: dict[str, Evaluation]) -> str | None:
    """Return the number type of the networks, of each run where they differ: scores then differ by it, too."""
    of_run = {name: one["precision"] for name, one in evaluations.items() if one.get("precision")}
    if len(set(of_run.values())) < 2:
        return next(iter(of_run.values()), None)
    return ", ".join(f"{name} {precision}" for name, precision in of_run.items())


def _same_pixels(one: Panels, other: Panels) -> bool:
    key = "truth" if "truth" in one else "input"
    return key in other and one[key].shape == other[key].shape and np.allclose(one[key], other[key], equal_nan=True)
