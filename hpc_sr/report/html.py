"""One self-contained page for a run: result, course of the training, tables, pictures, provenance."""

from __future__ import annotations

import base64
import statistics
from pathlib import Path
from typing import Any

import jinja2

from hpc_sr.errors import OutputError
from hpc_sr.logs import write_atomically
from hpc_sr.report.figures import curves
from hpc_sr.report.panels import scene_pictures
from hpc_sr.report.run_directory import Run, read_run
from hpc_sr.report.tables import Cell, Evaluation, Grid, band_grids, headline, notes, scene_grid, total_grid

_MEANING = {
    "synthesis": "All bands are degraded by the task's scale; the estimate is compared with the bands as measured. "
    "It tells how well detail is recovered, if scale does not matter.",
    "consistency": "The estimate from the bands as measured is degraded again and compared with the coarse bands. "
    "It tells whether the measured radiometry is kept, not how sharp the result is: plain up-sampling scores well.",
}
_TILES = (("rmse", "RMSE", ".2f"), ("sre", "SRE, dB", ".2f"), ("ssim", "SSIM", ".4f"))


def write_report(run_dir: Path) -> Path:
    """Write run_dir/report.html, whole or not at all, and return its path.

    What the run has not got to yet is said in a sentence. The page needs no other file and no network.
    Raises RunDirectoryError if `run_dir` is none or a file in it cannot be understood, OutputError
    if the page cannot be written.
    """
    page = render(read_run(Path(run_dir)))
    path = Path(run_dir) / "report.html"
    try:
        write_atomically(path, page)
    except OSError as error:
        raise OutputError(f"cannot be written ({error})", where=path, cure="make the folder writable") from error
    return path


def render(run: Run) -> str:
    """Return the page of a run as HTML text."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    train, validation = run.of_kind("train"), run.of_kind("validation")
    plots = curves(train, validation, run.resumed)
    return environment.get_template("template.html.j2").render(
        name=run.name,
        recipe=run.recipe,
        facts=_facts(run.environment),
        tiles=_result_tiles(run.evaluations) + _training_tiles(run, train, validation),
        plots=[(caption, _data_uri(svg.encode(), "svg+xml")) for caption, svg in plots.items()],
        protocols=[_protocol(run, protocol, evaluation) for protocol, evaluation in run.evaluations.items()],
        products=_product_grid(run.evaluations),
    )


def _protocol(run: Run, protocol: str, evaluation: Evaluation) -> dict[str, Any]:
    """Return what the page shows of one protocol."""
    scenes = [scene["scene"] for scene in evaluation["scenes"]]
    family = evaluation["model"]["family"]
    return {
        "name": protocol,
        "meaning": _MEANING[protocol],
        "headline": headline(evaluation),
        "notes": notes(evaluation),
        "total": total_grid(evaluation),
        "bands": band_grids(evaluation),
        "scenes": scene_grid(evaluation),
        "pictures": [
            (scene, _embedded(run.panels[protocol, scene], family))
            for scene in scenes
            if (protocol, scene) in run.panels
        ],
        "command": evaluation.get("command"),
    }


def _embedded(panels: dict, family: str) -> dict[str, Any]:
    pictures = scene_pictures(panels, family)
    rows = {
        row: [(picture.caption, _data_uri(picture.png, "png")) for picture in getattr(pictures, row)]
        for row in ("images", "errors")
    }
    return {**rows, "bar": _data_uri(pictures.bar, "png"), "bar_top": f"{pictures.bar_top:.0f}"}


def _product_grid(evaluations: dict[str, Evaluation]) -> Grid:
    """Return where the evaluated scenes come from, each scene once."""
    scenes = {scene["scene"]: scene["provenance"] for one in evaluations.values() for scene in one["scenes"]}
    keys = list(dict.fromkeys(key for provenance in scenes.values() for key in provenance))
    rows = [(name, [Cell(_text(facts.get(key))) for key in keys]) for name, facts in scenes.items()]
    return Grid("Evaluated scenes", ["scene", *(key.replace("_", " ") for key in keys)], rows)


def _result_tiles(evaluations: dict[str, Evaluation]) -> list[tuple[str, str, str]]:
    """Return (label, number, remark) of the results that a reader looks for first."""
    tiles = []
    for protocol, evaluation in evaluations.items():
        ours, base = (evaluation["mean"][method]["total"] for method in (evaluation["model"]["family"], "bicubic"))
        ratio = evaluation["ratio_to_bicubic"].get("rmse")
        if ratio is not None:
            tiles.append((f"{protocol}: RMSE / bicubic", f"{ratio:.3f}", "lower is better, 1 is bicubic"))
        if protocol == "synthesis":
            tiles += [
                (f"{protocol}: {label}", format(ours[key], form), f"bicubic {base[key]:{form}}")
                for key, label, form in _TILES
                if ours[key] is not None and base[key] is not None
            ]
    return tiles


def _training_tiles(run: Run, train: list[dict], validation: list[dict]) -> list[tuple[str, str, str]]:
    """Return (label, number, remark) of how far and how fast, and of the best validation until it is evaluated."""
    tiles = []
    scored = [line for line in validation if line.get("rmse") and line.get("rmse_bicubic")]
    if scored and not run.evaluations:
        best = min(scored, key=lambda line: line["rmse"])
        ratio = best["rmse"] / best["rmse_bicubic"]
        tiles.append(("best validation: RMSE / bicubic", f"{ratio:.3f}", f"at step {_grouped(best['step'])}"))
    if train:
        last = train[-1]
        tiles.append(("steps", _grouped(last["step"]), f"{_grouped(last['samples'])} samples"))
    speeds = [line["samples_per_s"] for line in train if "samples_per_s" in line]
    seconds = sum(line.get("seconds", 0.0) for line in train)
    if speeds:
        remark = f"median; {_duration(seconds)} of training"
        tiles.append(("samples per second", _grouped(round(statistics.median(speeds))), remark))
    for part, label in (("data_wait", "waiting for data"), ("communication", "exchanging gradients")):
        spent = sum(line.get(f"{part}_share", 0.0) * line.get("seconds", 0.0) for line in train)
        if seconds > 0 and any(f"{part}_share" in line for line in train):
            tiles.append((label, f"{100 * spent / seconds:.1f} %", "of the training time"))
    if run.resumed:
        steps = ", ".join(_grouped(step) for step in run.resumed[-3:])
        tiles.append(
            ("resumed", f"{len(run.resumed)} ×", f"{'last ' if len(run.resumed) > 3 else ''}at step {steps}")
        )
    return tiles


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


def _grouped(number: int) -> str:
    """Return an integer with thin spaces between thousands."""
    return f"{number:,}".replace(",", "\u202f")


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min" if seconds >= 60 else f"{seconds:.0f} s"


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
