"""The table of networks for single pictures: ours, and what was published for Set5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hpc_sr.report.rendering import Cell, Grid, transposed
from hpc_sr.report.scores import BY_KEY, UNDEFINED, Score
from hpc_sr.report.tables import marked_cells

#: Published on Set5, Y, `scale` pixels cropped: (method or family, scale) -> PSNR in dB, SSIM if it is known.
#: Bicubic and SRCNN (9-5-5): Dong et al. 2016, https://arxiv.org/abs/1501.00092; FSRCNN(56, 12, 4), trained on 91
#: images: Dong et al. 2016, https://arxiv.org/abs/1608.00367; SRResNet: Ledig et al. 2017,
#: https://arxiv.org/abs/1609.04802.
PUBLISHED = {
    ("bicubic", 2): ("33.66", "0.9299"),
    ("bicubic", 3): ("30.39", None),
    ("bicubic", 4): ("28.42", None),
    ("srcnn", 2): ("36.66", "0.9542"),
    ("srcnn", 3): ("32.75", None),
    ("fsrcnn", 4): ("30.55", None),
    ("srresnet", 4): ("32.05", None),
}

_SCORES = (
    Score("psnr", "PSNR, RGB", "dB", 2, 1),
    Score("ssim", "SSIM, RGB", "", 4, 1),
    Score("psnr_y", "PSNR, Y", "dB", 2, 1),
    Score("ssim_y", "SSIM, Y", "", 4, 1),
    Score("gsm", "GSM, global", "", 4, 1),
    Score("lpips", BY_KEY["lpips"].label, "", 4, -1),
    Score("niqe", BY_KEY["niqe"].label, "", 3, -1),
    Score("pi", "PI", "", 3, -1),
)
_COSTS = (
    Score("parameters", "parameters", "thousand", 1, -1),
    Score("multiply_adds", "multiply-adds", "G a megapixel", 1, -1),
    Score("milliseconds", "time", "ms a megapixel", 0, -1),
)
_NEEDED = {
    "lpips": "LPIPS was not asked for: it needs weights.",
    "niqe": "NIQE was not asked for: it needs a model.",
    "pi": "PI needs the scores of Ma et al., whose regressors are not public: --ma takes those made elsewhere.",
}
_PI = "PI is ((10 - Ma) + NIQE) / 2, the mean over pictures; Ma's scores were made elsewhere."


@dataclass(frozen=True)
class PictureRow:
    """A method: what it is called, its family, its mean scores, and what it costs as far as that is known."""

    name: str
    family: str
    scores: dict[str, float | None]
    costs: dict[str, float | None]


@dataclass(frozen=True)
class Part:
    """The same part of a picture by what made it: colours 0..1 (H, W, 3), in the order in which they are shown.

    `scores` stand under the names, where there are some.
    """

    picture: str
    shown: Mapping[str, np.ndarray]
    scores: Mapping[str, str]


def picture_grid(scale: int, rows: list[PictureRow], protocol: tuple[str, ...]) -> Grid:
    """Return the table of one scale: methods down, scores and costs across; the best of each score is marked."""
    shown = [score for score in _SCORES if any(row.scores.get(score.key) is not None for row in rows)]
    columns = [_compared(marked_cells((row.scores.get(s.key) for row in rows), s), s, rows, scale) for s in shown]
    columns += [[Cell(cost.text(row.costs.get(cost.key))) for row in rows] for cost in _COSTS]
    heading = ["method", *(score.heading for score in shown), *(_plain(cost) for cost in _COSTS)]
    unknown = _NEEDED.keys() - {score.key for score in shown}
    notes = (
        *protocol,
        "Published: of the family's own publication, trained for PSNR at its full size, on Set5, whatever the pictures "
        "here are.",
        *(told for key, told in _NEEDED.items() if key in unknown),
        *((_PI,) if "pi" not in unknown else ()),
    )
    return Grid(
        f"Pictures x{scale}", heading, list(zip([r.name for r in rows], transposed(columns), strict=True)), notes
    )


def _compared(cells: list[Cell], score: Score, rows: list[PictureRow], scale: int) -> list[Cell]:
    place = {"psnr_y": 0, "ssim_y": 1}.get(score.key)
    if place is None:
        return cells
    printed = [PUBLISHED.get((row.family, scale), (None, None))[place] for row in rows]
    return [Cell(cell.text, cell.best, text or UNDEFINED) for cell, text in zip(cells, printed, strict=True)]


def _plain(score: Score) -> str:
    return f"{score.label}, {score.unit}"
