"""What many scenes say together: means, how sure they are, and whether one method is better than another.

Scenes differ far more than pixels do. So intervals come from drawing scenes anew, with replacement (the bootstrap,
Efron 1979). 95 % of the draws' means lie in an interval. All scores and methods see the same draws, so two methods are
compared in pairs. An interval says how much the choice of scenes matters, nothing else; below five scenes it means
little.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

_DRAWS = 10_000
_SHARES = (2.5, 97.5)
_SEED = 0

Scores = dict[str, float | None]


def summarise(scenes: list[dict[str, Any]], compared: str | None) -> dict[str, Any]:
    """Return `mean`, `intervals`, `paired` and `ratio_to_bicubic` of an evaluation's scenes.

    A score that does not exist for one scene has no mean; scenes of which no pixel was scored are left out, unless
    there is no other. Classes are averaged over the scenes that have them.
    `paired` holds `compared` minus each other method; `better` counts the scenes where it is the better one.
    """
    methods = list(scenes[0]["methods"])
    scenes = [scene for scene in scenes if scored_pixels(scene)] or scenes
    totals = {method: [scene["methods"][method]["total"] for scene in scenes] for method in methods}
    mean: dict[str, dict[str, Any]] = {
        method: {
            "total": means(totals[method]),
            "bands": _means_by_name([scene["methods"][method]["bands"] for scene in scenes]),
            "classes": _class_means([scene["methods"][method]["classes"] for scene in scenes]),
        }
        for method in methods
    }
    draws = np.random.default_rng(_SEED).integers(len(scenes), size=(_DRAWS, len(scenes)))
    return {
        "compared": compared,
        "mean": mean,
        "intervals": {
            method: {key: interval(_column(totals[method], key), draws) for key in mean[method]["total"]}
            for method in methods
        },
        "paired": {
            other: _compare(totals[compared], totals[other], draws)
            for other in methods
            if compared is not None and other != compared
        },
        "ratio_to_bicubic": {
            method: {
                key: _ratio(mean[method]["total"][key], mean["bicubic"]["total"][key])
                for key in ("rmse", "rmse_band_mean")
            }
            for method in methods
            if "bicubic" in methods
        },
    }


def scored_pixels(scene: dict[str, Any]) -> int:
    """Return how many pixels of a scene were scored, the same by every method."""
    return next(iter(scene["methods"].values()))["pixels"]


def means(rows: list[Scores]) -> Scores:
    """Return the mean of each score over images; undefined on one image is undefined on all."""
    columns = {key: _column(rows, key) for key in rows[0]}
    return {key: None if values is None else float(values.mean()) for key, values in columns.items()}


def interval(values: np.ndarray | None, draws: np.ndarray) -> list[float] | None:
    """Return between which means 95 % of the draws (N, scenes) lie; None of less than two scenes."""
    if values is None or len(values) < 2:
        return None
    return [float(bound) for bound in np.percentile(values[draws].mean(1), _SHARES)]


def _compare(ours: list[Scores], other: list[Scores], draws: np.ndarray) -> dict[str, dict[str, Any] | None]:
    found: dict[str, dict[str, Any] | None] = {}
    for key in ours[0]:
        pair = _column(ours, key), _column(other, key)
        if pair[0] is None or pair[1] is None:
            found[key] = None
            continue
        difference = pair[0] - pair[1]
        found[key] = {
            "difference": float(difference.mean()),
            "interval": interval(difference, draws),
            "better": int((difference * _DIRECTIONS[key] > 0).sum()),
            "scenes": len(difference),
        }
    return found


#: Whether more (1) or less (-1) of a score is better.
_DIRECTIONS = dict.fromkeys(("rmse", "rmse_band_mean", "sam", "ergas", "ergas_ratio_free", "niqe", "lpips"), -1) | (
    dict.fromkeys(
        (
            "sre",
            "sre_power",
            "psnr",
            "psnr_image_max",
            "bpsnr",
            "ssim",
            "uiq",
            "correlation",
            "q_index",
            "gsm",
            "gsm_map",
        ),
        1,
    )
)


def _means_by_name(rows: list[dict[str, Scores]]) -> dict[str, Scores]:
    return {name: means([row[name] for row in rows]) for name in rows[0]}


def _class_means(rows: list[dict[str, Any]]) -> dict[str, Any]:
    found = {}
    for name in sorted({name for row in rows for name in row}):
        having = [row[name]["total"] for row in rows if name in row]
        found[name] = {"total": means(having), "scenes": len(having)}
    return found


def _column(rows: Iterable[Scores], key: str) -> np.ndarray | None:
    values = [row[key] for row in rows]
    return None if any(value is None for value in values) else np.array(values, np.float64)


def _ratio(ours: float | None, base: float | None) -> float | None:
    return ours / base if ours is not None and base else None
