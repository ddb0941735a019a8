"""Scores of Ma et al. that were made elsewhere, and the perceptual index that they and NIQE make.

Ma et al. 2017, https://arxiv.org/abs/1612.05890; the index: Blau et al. 2018, https://arxiv.org/abs/1809.07517.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Mapping
from pathlib import Path

from hpc_sr.errors import ImageError

_COLUMNS = ("method", "picture", "score")
#: So many missing ones are named.
_NAMED = 5
MaScores = Mapping[tuple[str, str], float]


def read_ma_scores(path: Path) -> MaScores:
    """Return the scores by method and picture of a CSV file with the columns method, picture and score.

    Raises ImageError if it cannot be read, a score is no number, or two are of the same method and picture.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                cure = f"begin it with the line {','.join(_COLUMNS)}"
                raise ImageError(f"has no column {', '.join(missing)}", where=path, cure=cure)
            rows = [(row["method"], row["picture"], row["score"]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ImageError(f"cannot be read ({error})", where=path, cure="give a CSV file") from error
    scores: dict[tuple[str, str], float] = {}
    for method, picture, text in rows:
        score = _number(text)
        if score is None:
            raise ImageError(
                f"has {text!r} as score of {method}, {picture}", where=path, cure="give a number for each picture"
            )
        if (method, picture) in scores:
            raise ImageError(f"has two scores of {method}, {picture}", where=path, cure="leave one out")
        scores[method, picture] = score
    return scores


def check_ma_scores(scores: MaScores, methods: Collection[str], pictures: Collection[str], where: Path) -> None:
    """Raise ImageError, naming some of them, if pictures of these methods have no score."""
    missing = [f"{method}, {picture}" for method in methods for picture in pictures if (method, picture) not in scores]
    if missing:
        named = "; ".join(missing[:_NAMED]) + ("; ..." if len(missing) > _NAMED else "")
        raise ImageError(
            f"has no score of {len(missing)} of {len(methods) * len(pictures)} pictures by method: {named}",
            where=where,
            cure="a method is a run's folder, a picture its file without the suffix, or a patch's number in its store",
        )


def perceptual_index(ma: float | None, niqe: float | None) -> float | None:
    """Return ((10 - Ma) + NIQE) / 2 of a picture, low where it looks natural; None where one of them is not known."""
    return None if ma is None or niqe is None else ((10 - ma) + niqe) / 2


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
