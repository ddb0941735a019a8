"""One self-contained page for a run: result, course of the training, tables, pictures, provenance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpc_sr.report.figures.colours import method_colours
from hpc_sr.report.figures.course import curves
from hpc_sr.report.headlines import result_tiles, training_tiles
from hpc_sr.report.page import fill, svg_uri, write_page
from hpc_sr.report.rendering import Cell, Grid
from hpc_sr.report.run_directory import Run, networks_of, read_run
from hpc_sr.report.sections import before_and_after_section, evaluation_section, scene_section, worst_section
from hpc_sr.report.tables import Evaluation, headline, scene_grid

#: What each protocol tells.
MEANING = {
    "synthesis": "All bands are degraded by the task's scale; the estimate is compared with the bands as measured. "
    "It tells how well detail is recovered, if scale does not matter.",
    "consistency": "The estimate from the bands as measured is degraded again and compared with the coarse bands. "
    "It tells whether the measured radiometry is kept, not how sharp the result is: plain up-sampling scores well.",
    "truth": "The estimate is compared with a given reference of higher resolution. What separates the two besides "
    "resolution, as the hour, the sensor or the registration, counts as error of every method.",
}


def write_report(run_dir: Path) -> Path:
    """Write run_dir/report.html, whole or not at all, and return its path.

    What the run has not got to yet is said in a sentence. The page needs no other file and no network.
    Raises RunDirectoryError if `run_dir` is none or a file in it cannot be understood, OutputError
    if the page cannot be written.
    """
    return write_page(Path(run_dir) / "report.html", render(read_run(Path(run_dir))))


def render(run: Run) -> str:
    """Return the page of a run as HTML text."""
    train, validation = run.of_kind("train"), run.of_kind("validation")
    plots = curves(train, validation, run.resumed)
    return fill(
        "template.html.j2",
        name=run.name,
        trained=run.recipe is not None,
        recipe=run.recipe,
        facts=_facts(run.environment),
        natives=[before_and_after_section(native) for native in run.native.values()],
        tiles=result_tiles(run.evaluations) + training_tiles(run, train, validation),
        plots=[(f"{caption}, by step", svg_uri(text)) for caption, text in plots.items()],
        protocols=[_protocol(run, protocol, evaluation) for protocol, evaluation in run.evaluations.items()],
        products=_product_grid(run.evaluations),
    )


def _protocol(run: Run, protocol: str, evaluation: Evaluation) -> dict[str, Any]:
    """Return what the page shows of one protocol."""
    networks = networks_of(evaluation)
    colours = method_colours(list(evaluation["mean"]), networks)
    shown = [name for scene in evaluation["scenes"] if (protocol, name := scene["scene"]) in run.panels]
    return {
        **evaluation_section(evaluation, networks, colours),
        "name": protocol.replace("_", ", "),
        "anchor": protocol,
        "meaning": MEANING[evaluation["protocol"]],
        "headline": headline(evaluation),
        "scenes": scene_grid(evaluation),
        "pictures": [(name, scene_section(run.panels[protocol, name], networks, colours)) for name in shown],
        "worst": [(name, worst_section(run.worst[key])) for name in shown if (key := (protocol, name)) in run.worst],
        "command": evaluation.get("command"),
    }


def _product_grid(evaluations: dict[str, Evaluation]) -> Grid:
    """Return where the evaluated scenes come from, each scene once."""
    scenes = {scene["scene"]: scene["provenance"] for one in evaluations.values() for scene in one["scenes"]}
    keys = list(dict.fromkeys(key for provenance in scenes.values() for key in provenance))
    rows = [(name, [Cell(_text(facts.get(key))) for key in keys]) for name, facts in scenes.items()]
    return Grid("Evaluated scenes", ["scene", *(key.replace("_", " ") for key in keys)], rows)


def _facts(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (name, text) of the entries that a table can show; the recipe has a place of its own."""
    return [(key.replace("_", " "), _text(value)) for key, value in values.items() if key != "recipe"]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(entry)}" for key, entry in value.items() if entry is not None) or "none"
    if isinstance(value, list):
        return ", ".join(dict.fromkeys(str(entry) for entry in value)) or "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else str(value)
