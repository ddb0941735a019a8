"""Tables of an evaluation, for a terminal, for Markdown and for the page; the best value of each score is marked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

Evaluation = dict[str, Any]

UNDEFINED = "–"


@dataclass(frozen=True)
class Score:
    """How a score is shown; `better` is -1 where low is good, 1 where high is, 0 where near zero is."""

    key: str
    label: str
    unit: str
    decimals: int
    better: int

    @property
    def heading(self) -> str:
        unit = f", {self.unit}" if self.unit else ""
        direction = "↓" if self.better < 0 else "↑" if self.better else "→ 0"
        return f"{self.label}{unit} {direction}"

    def text(self, value: float | None) -> str:
        # Rounding first turns -0.001 into -0.0, and adding 0.0 that into 0.0.
        return UNDEFINED if value is None else f"{round(value, self.decimals) + 0.0:.{self.decimals}f}"

    def distance(self, value: float) -> float:
        """Return a number that is lower the better the value is."""
        return -self.better * value if self.better else abs(value)


SCORES = (
    Score("rmse", "RMSE", "", 2, -1),
    Score("rmse_band_mean", "mean band RMSE", "", 2, -1),
    Score("sre", "SRE", "dB", 2, 1),
    Score("sre_power", "SRE, mean square", "dB", 2, 1),
    Score("sam", "SAM", "°", 3, -1),
    Score("ergas", "ERGAS", "", 3, -1),
    Score("ergas_ratio_free", "ERGAS, no ratio", "", 3, -1),
    Score("psnr", "PSNR", "dB", 2, 1),
    Score("psnr_image_max", "PSNR, peak of image", "dB", 2, 1),
    Score("bpsnr", "bPSNR", "dB", 2, 1),
    Score("ssim", "SSIM", "", 4, 1),
    Score("uiq", "UIQ", "", 4, 1),
    Score("q_index", "Q, whole band", "", 4, 1),
    Score("correlation", "correlation", "", 4, 1),
    Score("gsm", "GSM, global", "", 4, 1),
    Score("gsm_map", "GSM, map", "", 4, 1),
    Score("niqe", "NIQE", "", 3, -1),
    Score("lpips", "LPIPS", "", 4, -1),
    Score("bias", "bias", "", 2, 0),
)
_BY_KEY = {score.key: score for score in SCORES}
#: Scores that need what nobody ships, and what that is.
_NEEDS = {"niqe": "it needs a model of good images", "lpips": "it needs weights of its networks"}


@dataclass(frozen=True)
class Cell:
    text: str
    best: bool = False


@dataclass(frozen=True)
class Grid:
    """A table: a title, the heading of every column (the first is over the row names) and named rows of cells."""

    title: str
    heading: list[str]
    rows: list[tuple[str, list[Cell]]]


def total_grid(evaluation: Evaluation) -> Grid:
    """Return all bands together: methods down, scores across."""
    methods = evaluation["mean"]
    scores = [score for score in SCORES if _has(evaluation, score.key)]
    columns = [_compared((mean["total"].get(score.key) for mean in methods.values()), score) for score in scores]
    rows = list(zip(methods, _transposed(columns), strict=True))
    return Grid("All bands", ["method", *(score.heading for score in scores)], rows)


def band_grids(evaluation: Evaluation) -> list[Grid]:
    """Return a table for each score that bands have: methods down, bands across."""
    methods, bands = evaluation["mean"], evaluation["bands"]
    grids = []
    for score in SCORES:
        values = {m: [mean["bands"][band].get(score.key) for band in bands] for m, mean in methods.items()}
        if any(value is not None for row in values.values() for value in row):
            columns = [_compared(column, score) for column in zip(*values.values(), strict=True)]
            rows = list(zip(methods, _transposed(columns), strict=True))
            grids.append(Grid(score.heading, ["method", *bands], rows))
    return grids


def scene_grid(evaluation: Evaluation) -> Grid:
    """Return the scenes one by one: their size, RMSE and SRE by each method, and the RMSE's ratio to bicubic's."""
    methods, family = list(evaluation["mean"]), evaluation["model"]["family"]
    shown = [_BY_KEY["rmse"], _BY_KEY["sre"]]
    rows = []
    for scene in evaluation["scenes"]:
        totals = [scene["methods"][method]["total"] for method in methods]
        cells = [cell for score in shown for cell in _compared((total.get(score.key) for total in totals), score)]
        ratio = _ratio(scene["methods"][family]["total"]["rmse"], scene["methods"]["bicubic"]["total"]["rmse"])
        size = " × ".join(str(size) for size in scene["size_px"])
        rows.append((scene["scene"], [Cell(size), *cells, Cell(UNDEFINED if ratio is None else f"{ratio:.3f}")]))
    heading = [f"{score.label} {method}" for score in shown for method in methods]
    return Grid("Scene by scene", ["scene", "size, px", *heading, "RMSE / bicubic"], rows)


def headline(evaluation: Evaluation) -> str:
    """Return the result in a sentence."""
    family, count = evaluation["model"]["family"], len(evaluation["scenes"])
    ours, base = (evaluation["mean"][method]["total"]["rmse"] for method in (family, "bicubic"))
    rmse = _BY_KEY["rmse"]
    ratio = evaluation["ratio_to_bicubic"].get("rmse")
    scenes = "1 scene" if count == 1 else f"mean over {count} scenes"
    against = "against" if ratio is None else f"is {ratio:.3f} of"
    return f"{family}: RMSE {rmse.text(ours)} {against} bicubic's {rmse.text(base)} ({scenes})"


def notes(evaluation: Evaluation) -> list[str]:
    """Return what a reader needs to compare the numbers with others: conditions, units, constants."""
    return [
        f"Protocol {evaluation['protocol']}, degradation {evaluation['degradation']}, level {evaluation['level']}, "
        f"task {evaluation['task']}, scale {evaluation['scale']}.",
        "RMSE, bias in reflectance × 10 000, SRE, PSNR and bPSNR in decibels, SAM in degrees. Every score is taken "
        f"per scene, then averaged; {UNDEFINED} is a score that does not exist, as the decibels of no error.",
        "GSM ranks no method alone: the global one does not see where gradients are, the map counts noise as edges.",
        f"Constants: {_listed(evaluation['constants'])}.",
        f"Model: {_listed(evaluation['model'])}.",
        *(f"{_BY_KEY[key].label}: unavailable, {why}." for key, why in _NEEDS.items() if not _has(evaluation, key)),
    ]


def markdown_table(evaluation: Evaluation) -> str:
    """Return the evaluation as Markdown: the headline, a table of totals, one for each score by band, and notes."""
    parts = [f"**{_markdown(headline(evaluation))}**"]
    for grid in (total_grid(evaluation), *band_grids(evaluation), scene_grid(evaluation)):
        ruler = ["---", *("---:" for _ in grid.heading[1:])]
        rows = [[_markdown(name), *(_marked(cell) for cell in cells)] for name, cells in grid.rows]
        lines = [[_markdown(text) for text in grid.heading], ruler, *rows]
        parts.append(f"{grid.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join([*parts, *notes(evaluation)]) + "\n"


def console_table(evaluation: Evaluation) -> Table:
    """Return the evaluation for a terminal of 80 columns: scores down, methods across, RMSE and SRE by band."""
    caption = escape("\n".join(notes(evaluation)))
    table = Table(title=escape(headline(evaluation)), caption=caption, caption_justify="left")
    table.add_column("")
    for method in evaluation["mean"]:
        table.add_column(escape(method), justify="right")
    total = total_grid(evaluation)
    by_score = zip(total.heading[1:], _transposed([cells for _, cells in total.rows]), strict=True)
    for name, cells in by_score:
        table.add_row(escape(name), *(_emphasised(cell) for cell in cells))
    for grid in band_grids(evaluation):
        if grid.title in (_BY_KEY["rmse"].heading, _BY_KEY["sre"].heading):
            table.add_section()
            by_band = zip(grid.heading[1:], _transposed([cells for _, cells in grid.rows]), strict=True)
            for band, cells in by_band:
                table.add_row(escape(f"{grid.title}  {band}"), *(_emphasised(cell) for cell in cells))
    return table


def _compared(values: Iterable[float | None], score: Score) -> list[Cell]:
    """Return the cells of one score by several methods; those that read as the best value are marked."""
    texts = [score.text(value) for value in values]
    distances = [None if text == UNDEFINED else score.distance(float(text)) for text in texts]
    known = [distance for distance in distances if distance is not None]
    best = min(known) if len(known) > 1 else None
    marks = [distance is not None and distance == best for distance in distances]
    return [Cell(text, mark) for text, mark in zip(texts, marks, strict=True)]


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items())


def _has(evaluation: Evaluation, key: str) -> bool:
    return any(key in method["total"] for method in evaluation["mean"].values())


def _transposed(columns: list[list[Cell]]) -> list[list[Cell]]:
    return [list(row) for row in zip(*columns, strict=True)]


def _ratio(ours: float | None, base: float | None) -> float | None:
    return None if ours is None or not base else ours / base


def _marked(cell: Cell) -> str:
    return f"**{cell.text}**" if cell.best else cell.text


def _emphasised(cell: Cell) -> str:
    return f"[bold]{cell.text}[/bold]" if cell.best else cell.text


def _markdown(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
