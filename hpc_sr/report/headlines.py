"""The few numbers that a reader looks for first, as (label, number, remark)."""

from __future__ import annotations

import statistics

from hpc_sr.report.run_directory import Run
from hpc_sr.report.tables import Evaluation

_TILES = (("rmse", "RMSE", ".2f"), ("sre", "SRE, dB", ".2f"), ("ssim", "SSIM", ".4f"))


def result_tiles(evaluations: dict[str, Evaluation]) -> list[tuple[str, str, str]]:
    """Return the results of the network, or without one those of the method with the lowest RMSE."""
    tiles = []
    for name, evaluation in evaluations.items():
        protocol = name.replace("_", ", ")
        shown = evaluation["compared"] if evaluation["model"] else _best(evaluation)
        ours = evaluation["mean"][shown]["total"]
        base = evaluation["mean"].get("bicubic", {}).get("total", {}) if shown != "bicubic" else {}
        ratio = evaluation["ratio_to_bicubic"].get(shown, {}).get("rmse")
        if ratio is not None and base:
            tiles.append((f"{protocol}: RMSE {shown} / bicubic", f"{ratio:.3f}", "lower is better, 1 is bicubic"))
        if evaluation["protocol"] != "consistency":
            tiles += [
                (
                    f"{protocol}: {label}",
                    format(ours[key], form),
                    shown if base.get(key) is None else f"bicubic {base[key]:{form}}",
                )
                for key, label, form in _TILES
                if ours.get(key) is not None
            ]
    return tiles


def _best(evaluation: Evaluation) -> str:
    totals = {method: mean["total"] for method, mean in evaluation["mean"].items()}
    known = {method: total["rmse"] for method, total in totals.items() if total.get("rmse") is not None}
    return min(known, key=lambda method: known[method]) if known else evaluation["compared"]


def training_tiles(run: Run, train: list[dict], validation: list[dict]) -> list[tuple[str, str, str]]:
    """Return how far and how fast, and of the best validation until it is evaluated."""
    tiles = []
    scored = [line for line in validation if line.get("rmse") and line.get("rmse_bicubic")]
    if scored and not run.evaluations:
        best = min(scored, key=lambda line: line["rmse"])
        ratio = best["rmse"] / best["rmse_bicubic"]
        tiles.append(("best validation: RMSE / bicubic", f"{ratio:.3f}", f"at step {grouped(best['step'])}"))
    if train:
        last = train[-1]
        tiles.append(("steps", grouped(last["step"]), f"{grouped(last['samples'])} samples"))
    speeds = [line["samples_per_s"] for line in train if "samples_per_s" in line]
    seconds = sum(line.get("seconds", 0.0) for line in train)
    if speeds:
        remark = f"median; {duration(seconds)} of training"
        tiles.append(("samples per second", grouped(round(statistics.median(speeds))), remark))
    for part, label in (("data_wait", "waiting for data"), ("communication", "exchanging gradients")):
        spent = sum(line.get(f"{part}_share", 0.0) * line.get("seconds", 0.0) for line in train)
        if seconds > 0 and any(f"{part}_share" in line for line in train):
            tiles.append((label, f"{100 * spent / seconds:.1f} %", "of the training time"))
    if run.resumed:
        steps = ", ".join(grouped(step) for step in run.resumed[-3:])
        tiles.append(("resumed", f"{len(run.resumed)} ×", f"{'last ' if len(run.resumed) > 3 else ''}at step {steps}"))
    return tiles


def grouped(number: int) -> str:
    """Return an integer with thin spaces between thousands."""
    return f"{number:,}".replace(",", "\u202f")


def duration(seconds: float) -> str:
    """Return a duration in hours and minutes, or in seconds if it is shorter."""
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min" if seconds >= 60 else f"{seconds:.0f} s"
