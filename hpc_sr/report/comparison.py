"""One self-contained page that compares runs: who they are, how they learnt, how they score, what they see."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hpc_sr.errors import RunDirectoryError
from hpc_sr.report.figures.colours import method_colours
from hpc_sr.report.figures.evaluation import Colours
from hpc_sr.report.figures.learning_curves import learning_curves
from hpc_sr.report.headlines import grouped
from hpc_sr.report.html import MEANING
from hpc_sr.report.merging import Merged, common_panels, merge_comparable, named_runs
from hpc_sr.report.page import fill, svg_uri, write_page
from hpc_sr.report.rendering import Cell, Grid
from hpc_sr.report.run_directory import Run, read_run
from hpc_sr.report.scores import UNDEFINED
from hpc_sr.report.sections import evaluation_section, in_parts, scene_section
from hpc_sr.report.tables import Evaluation, total_grid, units_and_constants


def write_comparison(run_dirs: list[Path], out: Path) -> Path:
    """Write a page that compares runs to `out`, whole or not at all, and return its path.

    Runs stand in one table only if they were evaluated alike: same protocol, task, degradation, level and scenes.
    Names lead to the runs' own report.html, by a path relative to the page, where there is one.
    Raises RunDirectoryError as `read_run` does, or if no run is given; OutputError if the page cannot be written.
    """
    if not run_dirs:
        raise RunDirectoryError("no run is given", cure="give the folders that training or evaluation made")
    out = Path(out)
    return write_page(out, render_comparison([read_run(Path(run_dir)) for run_dir in run_dirs], out.parent))


def render_comparison(runs: list[Run], folder: Path) -> str:
    """Return the page as HTML text; `folder` is where it will lie."""
    named = named_runs(runs)
    groups = merge_comparable(named)
    networks = list(dict.fromkeys(name for group in groups for name in group.networks))
    scored = dict.fromkeys(method for group in groups for method in group.evaluation["mean"])
    colours = method_colours(list({**scored, **dict.fromkeys(named)}), networks)
    return fill(
        "comparison.html.j2",
        count=len(named),
        runs=_run_grid(named),
        links=_links(named, folder),
        networks=networks,
        plots=[(caption, svg_uri(text)) for caption, text in learning_curves(named, colours).items()],
        groups=[_group(group, colours, index) for index, group in enumerate(groups, start=1)],
        unevaluated=[name for name, run in named.items() if not run.evaluations],
    )


def _run_grid(runs: dict[str, Run]) -> Grid:
    """Return one row a run: what it is, how far it came, what it was evaluated on."""
    heading = ["run", "family", "parameters", "steps", "store", "task", "degradation", "level", "evaluated on"]
    return Grid("Runs", heading, [(name, [Cell(text) for text in _facts(run)]) for name, run in runs.items()])


def _facts(run: Run) -> list[str]:
    evaluations = list(run.evaluations.values())
    model: dict[str, Any] = next((one["model"] for one in evaluations if one["model"]), {})
    train = run.of_kind("train")
    step = model.get("step", train[-1]["step"] if train else None)
    store = re.search(r"^store:\s*(\S.*)$", run.recipe or "", re.MULTILINE)
    return [
        model.get("family") or UNDEFINED,
        UNDEFINED if model.get("parameters") is None else grouped(model["parameters"]),
        UNDEFINED if step is None else grouped(step),
        store[1].strip() if store else UNDEFINED,
        *(_distinct(evaluations, key) for key in ("task", "degradation", "level")),
        ", ".join(f"{_label(one)}: {_count(len(one['scenes']), 'scene')}" for one in evaluations) or "not yet",
    ]


def _label(evaluation: Evaluation) -> str:
    """Return what a run calls an evaluation: the protocol, and the target where a task has several."""
    return evaluation["label"].replace("_", ", ")


def _distinct(evaluations: list[Evaluation], key: str) -> str:
    return ", ".join(dict.fromkeys(str(one[key]) for one in evaluations if one[key])) or UNDEFINED


def _links(runs: dict[str, Run], folder: Path) -> dict[str, str]:
    """Return the relative address of the report of each run that has one."""
    reports = {name: run.folder.resolve() / "report.html" for name, run in runs.items()}
    return {
        name: quote(Path(os.path.relpath(report, folder.resolve())).as_posix())
        for name, report in reports.items()
        if report.is_file()
    }


def _group(merged: Merged, colours: Colours, index: int) -> dict[str, Any]:
    """Return what the page shows of runs that were evaluated alike."""
    evaluation = merged.evaluation
    own = {method: colours[method] for method in evaluation["mean"]}
    stated = [str(evaluation[key]) for key in ("task", "degradation", "level", "precision") if evaluation[key]]
    panels = common_panels(merged)
    scene = None if panels is None else (panels[0], scene_section(panels[1], merged.networks, own))
    seen = [] if panels is None else panels[1]["methods"].tolist()
    return {
        **evaluation_section(evaluation, merged.networks, own),
        "anchor": f"table{index}",
        "totals": in_parts(_with_ratio(total_grid(evaluation), evaluation)),
        "title": f"{_label(evaluation)}: {', '.join([*stated, _count(len(merged.scenes), 'scene')])}",
        "meaning": MEANING[evaluation["protocol"]],
        "members": list(merged.runs),
        "scenes": merged.scenes,
        "notes": units_and_constants(evaluation),
        "scene": scene,
        "unseen": [method for method in own if method not in seen],
    }


def _with_ratio(grid: Grid, evaluation: Evaluation) -> Grid:
    """Return the table of totals with each method's RMSE over bicubic's before it."""
    ratios = {method: (entry or {}).get("rmse") for method, entry in evaluation["ratio_to_bicubic"].items()}
    if not ratios:
        return grid
    texts = [UNDEFINED if ratios.get(name) is None else f"{ratios[name]:.3f}" for name, _ in grid.rows]
    known = [text for text in texts if text != UNDEFINED]
    best = min(known, key=float) if len(known) > 1 else None
    rows = [(name, [Cell(text, text == best), *cells]) for (name, cells), text in zip(grid.rows, texts, strict=True)]
    return replace(grid, heading=[grid.heading[0], "RMSE / bicubic ↓", *grid.heading[1:]], rows=rows)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
