"""Tables of an evaluation, for a terminal, for Markdown and for the page; the best value of each score is marked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from rich.console import Group
from rich.markup import escape

from hpc_sr.markdown import as_text
from hpc_sr.report.rendering import Cell, Grid, as_markdown, methods_across, methods_down, transposed
from hpc_sr.report.scores import BY_KEY, SCORES, UNDEFINED, Score
from hpc_sr.tasks import REFLECTANCE_ONE

Evaluation = dict[str, Any]

#: Scores that need what nobody ships, and what that is.
_NEEDS = {"niqe": "it needs a model of good images", "lpips": "it needs weights of its networks"}
#: Scores whose intervals over scenes are shown, and that methods are compared by.
_MAIN = ("rmse", "sre", "sam")
#: More methods than this stand in rows of their own on a terminal, and by RMSE alone in the table of scenes.
_ACROSS = 4


def total_grid(evaluation: Evaluation) -> Grid:
    """Return all bands together: methods down, scores across, with the 95 % interval over scenes of the main ones."""
    plain = _plain_totals(evaluation)
    intervals = {score.heading: score for score in SCORES if score.key in _MAIN}
    rows = []
    for method, cells in plain.rows:
        named = zip(plain.heading[1:], cells, strict=True)
        texts = [(cell, _interval_of(evaluation, method, intervals.get(heading))) for heading, cell in named]
        rows.append((method, [replace(cell, text=f"{cell.text} ({text})") if text else cell for cell, text in texts]))
    return replace(plain, rows=rows)


def _plain_totals(evaluation: Evaluation) -> Grid:
    methods = evaluation["mean"]
    scores = [score for score in SCORES if _has(evaluation, score.key)]
    columns = [marked_cells((mean["total"].get(score.key) for mean in methods.values()), score) for score in scores]
    columns.append([Cell(_seconds(evaluation, method)) for method in methods])
    rows = list(zip(methods, transposed(columns), strict=True))
    return Grid("All bands", ["method", *(score.heading for score in scores), "s a scene"], rows)


def _interval_grid(evaluation: Evaluation) -> Grid:
    """Return the 95 % intervals alone, of the scores that have any."""
    methods, main = list(evaluation["mean"]), [BY_KEY[key] for key in _MAIN]
    texts = {score.heading: [_interval_of(evaluation, method, score) for method in methods] for score in main}
    known = {heading: column for heading, column in texts.items() if any(column)}
    columns = [[Cell(text or UNDEFINED) for text in column] for column in known.values()]
    rows = list(zip(methods, transposed(columns), strict=True)) if columns else []
    return Grid("95 % interval", ["method", *known], rows)


def band_grids(evaluation: Evaluation) -> list[Grid]:
    """Return a table for each score that bands have: methods down, bands across."""
    methods, bands = evaluation["mean"], evaluation["bands"]
    grids = []
    for score in SCORES:
        values = {m: [mean["bands"][band].get(score.key) for band in bands] for m, mean in methods.items()}
        if any(value is not None for row in values.values() for value in row):
            columns = [marked_cells(column, score) for column in zip(*values.values(), strict=True)]
            rows = list(zip(methods, transposed(columns), strict=True))
            grids.append(Grid(score.heading, ["method", *bands], rows))
    return grids


def scene_grid(evaluation: Evaluation) -> Grid:
    """Return the scenes one by one: size, pixels that were scored, RMSE and SRE by each method (RMSE alone where
    methods are many), and the ratio of the compared method's RMSE to bicubic's."""
    methods, compared = list(evaluation["mean"]), evaluation["compared"]
    shown = [BY_KEY["rmse"], BY_KEY["sre"]] if len(methods) <= _ACROSS else [BY_KEY["rmse"]]
    rows = []
    for scene in evaluation["scenes"]:
        totals = {method: scene["methods"][method]["total"] for method in methods}
        cells = [cell for score in shown for cell in marked_cells((t.get(score.key) for t in totals.values()), score)]
        size = " × ".join(str(size) for size in scene["size_px"])
        scored = f"{_scored_px(scene):,}".replace(",", " ")
        rows.append((scene["scene"], [Cell(size), Cell(scored), *cells, Cell(_ratio_text(totals, compared))]))
    heading = [f"{score.label} {method}" for score in shown for method in methods]
    return Grid("Scene by scene", ["scene", "size, px", "scored, px", *heading, f"RMSE {compared} / bicubic"], rows)


def class_grid(evaluation: Evaluation) -> Grid | None:
    """Return RMSE, SRE and SAM by land-cover class and method, and the RMSE's ratio to bicubic's, or None where
    the land cover is not known. The best method of each class is marked."""
    means = evaluation["mean"]
    names = list(dict.fromkeys(name for mean in means.values() for name in mean.get("classes", {})))
    rows = []
    for name in names:
        of_class = {method: mean["classes"][name] for method, mean in means.items() if name in mean["classes"]}
        totals = {method: entry["total"] for method, entry in of_class.items()}
        columns = [marked_cells((total.get(key) for total in totals.values()), BY_KEY[key]) for key in _MAIN]
        for method, cells in zip(totals, transposed(columns), strict=True):
            scenes = Cell(str(of_class[method]["scenes"]))
            rows.append((f"{name}: {method}", [*cells, Cell(_ratio_text(totals, method)), scenes]))
    heading = ["land cover: method", *(BY_KEY[key].heading for key in _MAIN), "RMSE / bicubic", "scenes"]
    return Grid("By land cover", heading, rows) if rows else None


def paired_grid(evaluation: Evaluation) -> Grid | None:
    """Return the compared method minus each other one, scene by scene: mean, 95 % interval over scenes, and in how
    many scenes it is better; None where nothing was compared. Differences whose interval has no 0 are marked."""
    paired, compared = evaluation.get("paired", {}), evaluation["compared"]
    keys = [key for key in _MAIN if any(entry.get(key) for entry in paired.values())]
    rows = []
    for method, entry in paired.items():
        cells = [cell for key in keys for cell in _difference(entry.get(key), BY_KEY[key])]
        rows.append((f"{compared} − {method}", cells))
    title = (
        f"{compared} compared with each other method on the same scenes: mean difference and its 95 % interval over "
        "scenes (an interval without 0, bold, is a difference beyond the choice of scenes), and in how many scenes "
        f"{compared} is better"
    )
    heading = [text for key in keys for text in (BY_KEY[key].heading, "better in")]
    return Grid(title, ["difference", *heading], rows) if keys else None


def headline(evaluation: Evaluation) -> str:
    """Return the result in a sentence: the network's, or without one the best method's."""
    rmse, count = BY_KEY["rmse"], sum(_scored_px(scene) > 0 for scene in evaluation["scenes"])
    if not count:
        return "No pixel could be scored"
    totals = {method: mean["total"] for method, mean in evaluation["mean"].items()}
    known = [method for method, total in totals.items() if total.get("rmse") is not None]
    best = min(known, key=lambda method: totals[method]["rmse"]) if known else evaluation["compared"]
    named = evaluation["compared"] if evaluation["model"] else best
    who = named if evaluation["model"] or len(totals) == 1 else f"best of {len(totals)} methods is {named}"
    text = f"{who}: RMSE {rmse.text(totals[named].get('rmse'))}"
    if "bicubic" in totals and named != "bicubic":
        ratio = evaluation["ratio_to_bicubic"].get(named, {}).get("rmse")
        text += " against" if ratio is None else f" is {ratio:.3f} of"
        text += f" bicubic's {rmse.text(totals['bicubic'].get('rmse'))}"
    on_blocks = ", on held-out blocks of a tile that was trained on" if any(map(_blocks, evaluation["scenes"])) else ""
    return f"{text} ({'1 scene' if count == 1 else f'mean over {count} scenes'}{on_blocks})"


def notes(evaluation: Evaluation) -> list[str]:
    """Return what a reader needs to compare the numbers with others: conditions, units, constants."""
    told = ("protocol", "degradation", "level", "task", "scale", "precision")
    conditions = {key: evaluation.get(key) for key in told}
    stated = ", ".join(f"{key} {value}" for key, value in conditions.items() if value)
    model, empty = evaluation["model"], [s["scene"] for s in evaluation["scenes"] if not _scored_px(s)]
    blocks = {scene["scene"]: number for scene in evaluation["scenes"] if (number := _blocks(scene))}
    of_blocks = ", ".join(f"{number} held out of {name}" for name, number in blocks.items())
    seen = [name for name in evaluation.get("trained_on", []) if name not in blocks]
    intervals = any(_interval_of(evaluation, m, BY_KEY[key]) for m in evaluation["mean"] for key in _MAIN)
    return [
        f"{stated[:1].upper()}{stated[1:]}.",
        *units_and_constants(evaluation),
        *([f"Left out of the means, as no pixel could be scored: {', '.join(empty)}."] if empty else []),
        *([f"Blocks of the same tile, easier than unseen ground: {of_blocks}."] if blocks else []),
        *([f"Seen in training, no proof of anything new: {', '.join(seen)}."] if seen else []),
        *(["In brackets, or under 95 %: interval of the mean by bootstrap over scenes."] if intervals else []),
        f"Model: {_listed(model)}." if model else "No network took part.",
        *(f"{BY_KEY[key].label}: unavailable, {why}." for key, why in _NEEDS.items() if not _has(evaluation, key)),
    ]


def units_and_constants(evaluation: Evaluation) -> list[str]:
    """Return what the numbers of any evaluation mean."""
    unit = "reflectance × 10 000" if evaluation["constants"]["max"] == REFLECTANCE_ONE else "the images' own units"
    return [
        f"RMSE, bias in {unit}, SRE, PSNR and bPSNR in decibels, SAM in degrees. Every score is taken "
        f"per scene, then averaged; {UNDEFINED} is a score that does not exist, as the decibels of no error.",
        "GSM ranks no method alone: the global one does not see where gradients are, the map counts noise as edges.",
        f"Constants: {_listed(evaluation['constants'])}.",
    ]


def markdown_table(evaluation: Evaluation) -> str:
    """Return the evaluation as Markdown: the headline, totals, each score by band, scenes, land cover and paired
    differences where there are, and notes."""
    grids = [total_grid(evaluation), *band_grids(evaluation), scene_grid(evaluation)]
    grids += [grid for grid in (class_grid(evaluation), paired_grid(evaluation)) if grid is not None]
    title = as_text(headline(evaluation))
    return "\n\n".join([f"**{title}**", *map(as_markdown, grids), *map(as_text, notes(evaluation))]) + "\n"


def console_table(evaluation: Evaluation) -> Group:
    """Return the evaluation for a terminal of 80 columns: all scores, then RMSE and SRE by band.

    Up to four methods stand across, more of them down in tables of a few scores each.
    """
    shown = [BY_KEY[key].heading for key in ("rmse", "sre")]
    bands = [grid for grid in band_grids(evaluation) if grid.title in shown]
    grids = [grid for grid in (_plain_totals(evaluation), _interval_grid(evaluation), *bands) if grid.rows]
    tables = [methods_across(grids)] if len(evaluation["mean"]) <= _ACROSS else methods_down(grids)
    return Group(escape(headline(evaluation)), *tables, escape("\n".join(notes(evaluation))))


def marked_cells(values: Iterable[float | None], score: Score) -> list[Cell]:
    """Return the cells of one score by several methods; those that read as the best value are marked, if there are
    at least two."""
    texts = [score.text(value) for value in values]
    distances = [None if text == UNDEFINED else score.distance(float(text)) for text in texts]
    known = [distance for distance in distances if distance is not None]
    best = min(known) if len(known) > 1 else None
    marks = [distance is not None and distance == best for distance in distances]
    return [Cell(text, mark) for text, mark in zip(texts, marks, strict=True)]


def _scored_px(scene: dict[str, Any]) -> int:
    return next(iter(scene["methods"].values()))["pixels"]


def _blocks(scene: dict[str, Any]) -> int:
    """Return how many held-out blocks a scene was scored on, 0 if on all of it."""
    return scene.get("blocks", 0)


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items())


def _has(evaluation: Evaluation, key: str) -> bool:
    return any(key in method["total"] for method in evaluation["mean"].values())


def _seconds(evaluation: Evaluation, method: str) -> str:
    """Return the mean time of a scene, by three digits: methods are between milliseconds and minutes apart."""
    times = [scene["seconds"].get(method) for scene in evaluation["scenes"]]
    known = [seconds for seconds in times if seconds is not None]
    return f"{sum(known) / len(known):.3g}" if known else UNDEFINED


def _interval_of(evaluation: Evaluation, method: str, score: Score | None) -> str | None:
    if score is None:
        return None
    interval = evaluation.get("intervals", {}).get(method, {}).get(score.key)
    return interval and _range(interval, score)


def _range(interval: list[float], score: Score) -> str:
    # A dash between numbers one of which has a minus is hard to read.
    return (" to " if min(interval) < 0 else "–").join(score.text(value) for value in interval)


def _difference(entry: dict[str, Any] | None, score: Score) -> list[Cell]:
    """Return the mean difference with its interval, and in how many scenes the compared method is better."""
    if entry is None:
        return [Cell(UNDEFINED), Cell(UNDEFINED)]
    interval, text = entry["interval"], score.text(entry["difference"])
    clear = interval is not None and (min(interval) > 0 or max(interval) < 0)
    text = f"{text} ({_range(interval, score)})" if interval else text
    return [Cell(text, clear), Cell(f"{entry['better']} of {entry['scenes']}")]


def _ratio_text(totals: dict[str, dict[str, float | None]], method: str) -> str:
    """Return the ratio of a method's RMSE to bicubic's, where both exist."""
    ours, base = (totals.get(name, {}).get("rmse") for name in (method, "bicubic"))
    return UNDEFINED if ours is None or not base else f"{ours / base:.3f}"
