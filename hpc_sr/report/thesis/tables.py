"""The thesis's tables with our numbers beside the published ones, from the evaluations of any runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hpc_sr.report.files import write_tables
from hpc_sr.report.rendering import Cell, Grid, transposed
from hpc_sr.report.scores import BY_KEY, UNDEFINED, Score
from hpc_sr.report.tables import Evaluation, marked_cells
from hpc_sr.report.thesis.published import QUOTED_FROM, REMARKS, SCORES, TABLES, Case, Published
from hpc_sr.report.thesis.rows import Mean, Row, Runs, column, ratio_of, rows_of
from hpc_sr.tasks import S2X, S6X

#: The score of ours that stands beside each of the thesis's.
_OURS = {
    "RMSE": "rmse",
    "SRE": "sre",
    "SAM": "sam",
    "ERGAS": "ergas_ratio_free",
    "SSIM": "uiq",
    "PSNR": "psnr_image_max",
    "bPSNR": "bpsnr",
}
_COMPARISON = (
    "Published: means over the thesis's 15 test tiles; ours are other scenes. What can be compared is the ratio to "
    "bicubic's RMSE.",
    "SSIM: ours is UIQ, SSIM without constants, which is what the thesis's values follow. ERGAS: ours is 100/2 × the "
    "relative error at 20 m and at 60 m, as the thesis's values suggest. PSNR and bPSNR: the peak of ours is the "
    "image's greatest value; the thesis's is not stated, depends on the data, and need not be the same for both.",
)
_RATIO = Score("ratio", "RMSE / bicubic", "", 3, -1)
_TASKS = {"s2x": S2X, "s6x": S6X}
#: The thesis's degradation: Gaussian of 1/s and mean over s x s pixels.
_DEGRADATION = "wald"


def thesis_tables(evaluations: Runs) -> list[Grid]:
    """Return the counterparts of the thesis's tables from (name of the run, evaluation) of any kind and number.

    For L1C and L2A, 20 m and 60 m, synthesis and consistency: all bands, RMSE and SRE by band, and of ours the ratio
    to bicubic's RMSE by band. A table that no evaluation fills stays and says which one is missing. Evaluations that
    belong in none of them are listed in a table at the end.
    """
    grids, left = [], list(evaluations)
    for case, published in TABLES.items():
        ours = [pair for pair in evaluations if _case(pair[1]) == case]
        left = [pair for pair in left if _case(pair[1]) != case]
        rows = rows_of(case, published, ours)
        conditions = _conditions(case, ours)
        grids += [_total_grid(case, rows, conditions), *_band_grids(case, rows, conditions)]
    return [*grids, _strangers(left)] if left else grids


def write_thesis_tables(evaluations: Runs, folder: Path) -> list[Path]:
    """Write folder/thesis.{md,csv,tex,html} and return their paths; if one cannot be written, none is replaced.

    Raises OutputError if the folder cannot be written.
    """
    return write_tables(thesis_tables(evaluations), "Tables of the thesis: published and ours", folder, "thesis")


def _case(evaluation: Evaluation) -> Case:
    return Case(evaluation["level"], evaluation["task"], evaluation["protocol"])


def _printed(name: str, band: str | None = None) -> Callable[[Published], str | None]:
    """Return what finds a published score, of all bands or of one."""
    return lambda row: row.scores.get(name) if band is None else row.bands.get(name, {}).get(band)


def _of_band(band: str) -> Callable[[Mean], dict]:
    return lambda mean: mean["bands"].get(band, {})


def _total_grid(case: Case, rows: list[Row], conditions: list[str]) -> Grid:
    columns = [column(rows, BY_KEY[_OURS[name]], _printed(name), lambda mean: mean["total"]) for name in SCORES]
    base = {row.family: row.scores["RMSE"] for row in TABLES[case]}.get("bicubic")
    printed = [
        _RATIO.text(float(row.published.scores["RMSE"]) / float(base)) if row.published and base else UNDEFINED
        for row in rows
    ]
    cells = marked_cells((ratio_of(row, lambda mean: mean["total"]) for row in rows), _RATIO)
    # Beside RMSE: it is what can be compared from one set of scenes to another.
    columns.insert(1, [Cell(cell.text, cell.best, text) for cell, text in zip(cells, printed, strict=True)])
    quoted = [row.published is not None and row.published.quoted is not None for row in rows]
    names = [f"{row.name} †" if mark else row.name for row, mark in zip(rows, quoted, strict=True)]
    notes = [
        *conditions,
        *([f"† The published values are not the thesis's own: it quotes {QUOTED_FROM}."] if any(quoted) else []),
        *([REMARKS[case]] if case in REMARKS else []),
        *(_COMPARISON if TABLES[case] else ["No published numbers are known for this table."]),
    ]
    rmse, *others = (_heading(name) for name in SCORES)
    heading = ["method", rmse, _RATIO.heading, *others]
    return Grid(f"{_title(case)}: all bands", heading, list(zip(names, transposed(columns), strict=True)), tuple(notes))


def _band_grids(case: Case, rows: list[Row], conditions: list[str]) -> list[Grid]:
    """Return RMSE and SRE by band with the published values, if there are any, and the ratios of ours."""
    bands = _TASKS[case.task].target.bands
    mine = [row for row in rows if row.mean]
    grids = []
    for name in ("RMSE", "SRE"):
        printed = any(name in row.bands for row in TABLES[case])
        shown = [row for row in rows if row.mean or (row.published and name in row.published.bands)]
        shown = shown or [row for row in rows if row in (rows[0], rows[-1])]
        columns = []
        for band in bands:
            cells = column(shown, BY_KEY[_OURS[name]], _printed(name, band), _of_band(band))
            columns.append(cells if printed else [Cell(cell.text, cell.best) for cell in cells])
        notes = [conditions[0], *([] if printed else ["No published values by band are known."])]
        title = f"{_title(case)}: {name} by band"
        grids.append(Grid(title, ["method", *bands], _named(shown, columns), tuple(notes)))
    if not mine:
        return grids
    columns = [marked_cells((ratio_of(row, _of_band(band)) for row in mine), _RATIO) for band in bands]
    title = f"{_title(case)}: {_RATIO.label} by band, ours alone"
    return [*grids, Grid(title, ["method", *bands], _named(mine, columns))]


def _named(rows: list[Row], columns: list[list[Cell]]) -> list[tuple[str, list[Cell]]]:
    return list(zip((row.name for row in rows), transposed(columns), strict=True))


def _heading(name: str) -> str:
    """Return the heading of a score under the thesis's name, with the unit and direction of ours."""
    score = BY_KEY[_OURS[name]]
    return Score(score.key, name, score.unit, score.decimals, score.better).heading


def _title(case: Case) -> str:
    return f"{case.level}, {_TASKS[case.task].target.coarse.gsd_m} m, {case.protocol}"


def _conditions(case: Case, ours: Runs) -> list[str]:
    """Return what was evaluated on what, or what is missing."""
    if not ours:
        return [f"Ours: no {case.level} run of task {case.task} under {case.protocol} was given."]
    by_scenes: dict[tuple[str, ...], list[str]] = {}
    for run, evaluation in ours:
        by_scenes.setdefault(tuple(scene["scene"] for scene in evaluation["scenes"]), []).append(run)
    parts = [f"{', '.join(runs)} on {_counted(scenes)}" for scenes, runs in by_scenes.items()]
    return [
        f"Ours: {'; '.join(parts)}.",
        *([] if any(one["model"] for _, one in ours) else [f"No network of task {case.task} was given."]),
        *(["The runs saw different scenes: only their ratios can be compared."] if len(by_scenes) > 1 else []),
        *(
            f"{run}: evaluated with the degradation {evaluation['degradation']}, the thesis with {_DEGRADATION}."
            for run, evaluation in ours
            if evaluation["degradation"] != _DEGRADATION
        ),
        *([f"Computed in {_precisions(ours)}."] if _precisions(ours) else []),
    ]


def _precisions(ours: Runs) -> str:
    """Return the number types of our networks."""
    return " and ".join(sorted({str(one["precision"]) for _, one in ours if one.get("precision")}))


def _counted(scenes: tuple[str, ...]) -> str:
    """Return the scenes' names, or their number where the names would be most of the text."""
    names = ", ".join(scenes)
    return names if len(names) <= 70 else f"{len(scenes)} scene{'s' if len(scenes) > 1 else ''}"


def _strangers(left: Runs) -> Grid:
    keys = ("level", "task", "protocol")
    rows = [(run, [Cell(evaluation[key] or UNDEFINED) for key in keys]) for run, evaluation in left]
    return Grid("Evaluations that belong in none of these tables", ["run", *keys], rows)
