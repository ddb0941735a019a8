"""The rows of a table of the thesis: each method of ours with its published counterpart, by the same conventions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hpc_sr.report.rendering import UNDEFINED, Cell
from hpc_sr.report.scores import BY_KEY, Score
from hpc_sr.report.tables import Evaluation, marked_cells
from hpc_sr.report.thesis.published import Case, Published

#: Methods in the order of the rows, as they are called there; others follow.
_NAMES = {
    "nearest": "nearest",
    "bilinear": "bilinear",
    "bicubic": "bicubic",
    "atprk": "ATPRK",
    "supreme": "SupReME",
    "superres": "Superres",
    "guided": "guided",
    "dsen2_l1c": "DSen2 with L1C weights",
    "dsen2": "DSen2",
    "vdsen2": "VDSen2",
    "s2x": "S2x",
    "s6x": "S6x",
}
_ORDER = list(_NAMES)
#: ERGAS's factor fine / coarse pixel size that the thesis's rows agree with at both scales.
_ERGAS_FACTOR = 0.5

Runs = list[tuple[str, Evaluation]]
Mean = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A line of a table: what was published, what is ours, and the bicubic of the same evaluation."""

    name: str
    published: Published | None
    mean: Mean | None = None
    bicubic: Mean | None = None


def rows_of(case: Case, published: tuple[Published, ...], ours: Runs) -> list[Row]:
    """Return the rows in the order of _NAMES: for each method our runs, or the published numbers alone.

    Bicubic and the task's network are always there.
    """
    prints = {row.family: row for row in published}
    found: dict[str, list[Row]] = {}
    for family, name, mean, bicubic in _our_methods(ours):
        found.setdefault(family, []).append(Row(name, prints.get(family), mean, bicubic))
    for family in [*prints, "bicubic", case.task]:
        if family not in found:
            row = prints.get(family)
            found[family] = [Row(row.name if row else _NAMES[family], row)]
    families = sorted(found, key=lambda family: _ORDER.index(family) if family in _ORDER else len(_ORDER))
    return [row for family in families for row in found[family]]


def _our_methods(ours: Runs) -> Iterator[tuple[str, str, Mean, Mean | None]]:
    """Yield (family, name, mean, bicubic's mean) of our methods, networks with their run's name.

    What needs no training has the same numbers in each evaluation of the same scenes, and then one row.
    """
    seen: dict[str, list[Mean]] = {}
    for run, evaluation in ours:
        means = evaluation["mean"]
        for method, mean in means.items():
            if evaluation["model"] and method == evaluation["compared"]:
                family = evaluation["model"]["family"]
                yield family, f"{_NAMES.get(family, family)}: {run}", mean, means.get("bicubic")
            elif not any(_alike(mean, other) for other in seen.get(method, [])):
                name = _NAMES.get(method, method)
                yield method, f"{name}, {run}" if method in seen else name, mean, means.get("bicubic")
                seen.setdefault(method, []).append(mean)


def _alike(mean: Mean, other: Mean) -> bool:
    """Return whether two means read the same: the last bits differ with the number of ranks."""
    texts = [[BY_KEY[key].text(one["total"].get(key)) for key in ("rmse", "sre", "sam")] for one in (mean, other)]
    return texts[0] == texts[1]


def column(
    rows: list[Row], score: Score, printed: Callable[[Published], str | None], ours: Callable[[Mean], dict]
) -> list[Cell]:
    """Return a score of each row, published and ours; the best of ours is marked."""
    cells = marked_cells((_comparable(ours(row.mean), score.key) if row.mean else None for row in rows), score)
    texts = [printed(row.published) if row.published else None for row in rows]
    return [Cell(cell.text, cell.best, text or UNDEFINED) for cell, text in zip(cells, texts, strict=True)]


def _comparable(scores: dict[str, float | None], key: str) -> float | None:
    """Return a score of ours by the thesis's convention, as far as that is known."""
    value = scores.get(key)
    if value is not None and key == "ergas_ratio_free":
        return _ERGAS_FACTOR * value
    if value is not None and key == "bpsnr":
        # Another peak moves all decibels of a scene, and so their mean, by the same.
        known, wanted = scores.get("psnr"), scores.get("psnr_image_max")
        return None if known is None or wanted is None else value + wanted - known
    return value


def ratio_of(row: Row, scores: Callable[[Mean], dict]) -> float | None:
    """Return the ratio of our RMSE to that of bicubic in the same evaluation."""
    ours, base = (scores(mean).get("rmse") if mean else None for mean in (row.mean, row.bicubic))
    return ours / base if ours is not None and base else None
