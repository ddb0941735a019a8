"""Adversarial training by the numbers: what a critic costs in fidelity, what it gives, what back-projection gives back.

From one evaluation of several runs, each as it was trained and back-projected, under synthesis and consistency.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpc_sr.report.figures.colours import method_colours
from hpc_sr.report.figures.evaluation import spectrum_plots
from hpc_sr.report.figures.trade_off import trade_off
from hpc_sr.report.files import write_together
from hpc_sr.report.page import fill, svg_uri
from hpc_sr.report.rendering import Cell, Grid, as_csv, as_latex, as_markdown, side_by_side, transposed
from hpc_sr.report.run_directory import Run, read_run
from hpc_sr.report.scores import BY_KEY, UNDEFINED, Score
from hpc_sr.report.sections import scene_section, worst_section
from hpc_sr.report.tables import Evaluation, marked_cells, notes
from hpc_sr.report.thesis.published import ADVERSARIAL_RMSE, Case

_SHOWN = ("rmse", "sre", "sam", "ergas", "uiq", "niqe")
#: Bounds of the frequency bands, in cycles per pixel.
_EDGES = (0.0, 0.125, 0.25, 0.375, 0.5)
_RATIO = Score("ratio", "RMSE / bicubic", "", 3, -1)
_POWER, _COHERENCE = Score("power", "power", "", 3, 0), Score("coherence", "coherence", "", 3, 1)
#: What a run without a critic is called where others are called by their loss.
CONTENT = "content"
#: What the evaluation's names of back-projected networks end in (weights/trained.py).
_PROJECTED = ", back-projected"

#: What a run must have lost, as a share of the best RMSE without a critic, for what is given back to mean anything.
_LEAST_LOST = 0.02

#: A value of a method, None where there is none.
Value = Callable[[str], float | None]


@dataclass(frozen=True)
class Variant:
    """A method of the evaluation that is a run, as it was trained or back-projected. `loss` is its adversarial one."""

    method: str
    run: str
    loss: str
    projected: bool

    @property
    def name(self) -> str:
        own = self.run if self.loss in self.run else f"{self.run} ({self.loss})"
        return f"{own}{_PROJECTED if self.projected else ''}"


def adversarial_tables(folder: Path, losses: dict[str, str]) -> list[Grid]:
    """Return the tables of the evaluations in a folder. `losses` tells by run what it was trained against.

    For each target: fidelity under both protocols, power and coherence by frequency, and what back-projection does.
    Raises RunDirectoryError if the folder holds no evaluation or one that cannot be understood.
    """
    return _tables(read_run(folder), losses)


def write_adversarial(folder: Path, losses: dict[str, str]) -> list[Path]:
    """Write folder/adversarial.{md,csv,tex,html} and return their paths; the page has pictures of the worst places.

    Raises as `adversarial_tables` does, and OutputError if the folder cannot be written.
    """
    run, title = read_run(folder), "Adversarial training: what it costs and what it gives"
    grids = _tables(run, losses)
    contents = {
        "adversarial.md": "\n\n".join([f"# {title}", *(f"## {as_markdown(grid)}" for grid in grids)]) + "\n",
        "adversarial.csv": as_csv(grids),
        "adversarial.tex": as_latex(grids),
        "adversarial.html": fill(
            "adversarial.html.j2",
            title=title,
            grids=[side_by_side(grid) for grid in grids],
            sections=[_section(run, label, losses) for label in run.evaluations],
        ),
    }
    return write_together(folder, "adversarial", contents)


def variants(evaluation: Evaluation, losses: dict[str, str]) -> list[Variant]:
    """Return the methods that are runs, those as trained first, in the order of the evaluation."""
    found = []
    for method in evaluation["mean"]:
        for run, loss in losses.items():
            for projected in (False, True):
                if method.endswith(f" {run}{_PROJECTED if projected else ''}"):
                    found.append(Variant(method, run, loss, projected))
    return sorted(found, key=lambda one: one.projected)


def band_spectrum(evaluation: Evaluation, method: str) -> list[tuple[float, float]] | None:
    """Return (power ratio, coherence) of each frequency band, means over bands and scenes; None of no spectrum.

    With P the power of the reference, Q of the estimate, and R their cross power, summed over the band's frequencies:
    the power ratio is Q / P, the coherence R / sqrt(P Q).
    """
    found = []
    for scene in evaluation["scenes"]:
        for curves in ((scene.get("spectra") or {}).get(method) or {}).values():
            told = ("frequency", "power_reference", "power_estimate", "coherence")
            frequency, ours, theirs, coherence = (np.asarray(curves[key], float) for key in told)
            cross = coherence * np.sqrt(ours * theirs)
            rings = [(frequency > low) & (frequency <= high) for low, high in zip(_EDGES, _EDGES[1:], strict=False)]
            sums = [[values[ring].sum() for ring in rings] for values in (ours, theirs, cross)]
            found.append([(q / p, r / np.sqrt(p * q)) if p * q else (0.0, 0.0) for p, q, r in zip(*sums, strict=True)])
    return [(float(power), float(right)) for power, right in np.mean(found, axis=0)] if found else None


def _tables(run: Run, losses: dict[str, str]) -> list[Grid]:
    grids = []
    for label, evaluation in run.evaluations.items():
        grids.append(_fidelity(label, evaluation, losses))
        if evaluation["protocol"] == "synthesis":
            grids.append(_frequencies(label, evaluation, losses))
            other = run.evaluations.get(label.replace("synthesis", "consistency", 1))
            grids.append(_given_back(label, evaluation, other, losses))
    return grids


def _total(evaluation: Evaluation | None, key: str) -> Value:
    """Return what finds a method's score of all bands together; there is none without an evaluation."""
    return lambda method: None if evaluation is None else evaluation["mean"][method]["total"].get(key)


def _finest(evaluation: Evaluation) -> Value:
    """Return what finds a method's power ratio in the finest band of frequency."""

    def finest(method: str) -> float | None:
        found = band_spectrum(evaluation, method)
        return found[-1][0] if found else None

    return finest


def _lines(evaluation: Evaluation, losses: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Return {method: (name, loss)} of the methods without training, which have no loss, and of the runs."""
    ours = variants(evaluation, losses)
    others = [method for method in evaluation["mean"] if method not in {one.method for one in ours}]
    runs = {one.method: (one.name, "" if one.projected else one.loss) for one in ours}
    return {**{method: (method, "") for method in others}, **runs}


def _fidelity(label: str, evaluation: Evaluation, losses: dict[str, str]) -> Grid:
    lines = _lines(evaluation, losses)
    case = Case(evaluation["level"], evaluation["task"], evaluation["protocol"])
    printed = ADVERSARIAL_RMSE.get(case, {})
    scores = [BY_KEY[key] for key in _SHOWN if any(_total(evaluation, key)(method) is not None for method in lines)]
    columns = [marked_cells(map(_total(evaluation, score.key), lines), score) for score in scores]
    if printed:
        told = [printed.get(loss, UNDEFINED) for _, loss in lines.values()]
        columns[0] = [Cell(cell.text, cell.best, text) for cell, text in zip(columns[0], told, strict=True)]
    base = _total(evaluation, "rmse")("bicubic") if "bicubic" in lines else None
    ratios = [_over(_total(evaluation, "rmse")(method), base) for method in lines]
    columns.insert(1, marked_cells(ratios, _RATIO))
    heading = ["method", scores[0].heading, _RATIO.heading, *(score.heading for score in scores[1:])]
    scenes = len(evaluation["scenes"])
    said = [
        f"Means over {scenes} scene{'s' if scenes > 1 else ''}, degradation {evaluation['degradation']}.",
        *(["Published: the thesis's, 15 other tiles; what can be compared is the order."] if printed else []),
        *(note for note in notes(evaluation) if note.startswith(("Seen in training", "Blocks of the same"))),
    ]
    rows = list(zip((name for name, _ in lines.values()), transposed(columns), strict=True))
    return Grid(f"{_titled(label)}: fidelity", heading, rows, tuple(said))


def _frequencies(label: str, evaluation: Evaluation, losses: dict[str, str]) -> Grid:
    lines = _lines(evaluation, losses)
    spectra = {method: band_spectrum(evaluation, method) for method in lines}
    count, columns, heading = len(_EDGES) - 1, [], ["method"]
    for part, score in enumerate((_POWER, _COHERENCE)):
        for band in range(count):
            values = [None if found is None else found[band][part] for found in spectra.values()]
            # Power is best at 1, which is as near to 0 as its distance from it.
            best = marked_cells([None if v is None else abs(v - 1) for v in values], score) if not part else None
            cells = marked_cells(values, score)
            marks = cells if best is None else best
            columns.append([Cell(cell.text, mark.best) for cell, mark in zip(cells, marks, strict=True)])
            heading.append(f"{score.label} {_EDGES[band]:g} to {_EDGES[band + 1]:g}")
    finest = 0.5 / evaluation["scale"]
    said = (
        "Power: that of the estimate over that of the measured bands, 1 at best; more is noise or invention. "
        "Coherence: the share of it that lies where the measured detail does, 1 at best.",
        f"Bands of frequency in cycles per pixel; the coarse input holds nothing beyond {finest:.3g}.",
    )
    rows = list(zip((name for name, _ in lines.values()), transposed(columns), strict=True))
    return Grid(f"{_titled(label)}: power and coherence by frequency", heading, rows, said)


def _given_back(label: str, synthesis: Evaluation, consistency: Evaluation | None, losses: dict[str, str]) -> Grid:
    """Return what back-projection does to each run: in synthesis, in consistency, and to the finest detail."""
    pairs: dict[str, dict[bool, Variant]] = {}
    for one in variants(synthesis, losses):
        pairs.setdefault(one.run, {})[one.projected] = one
    whole = [(pair[False], pair[True]) for pair in pairs.values() if len(pair) == 2]
    contents = [_total(synthesis, "rmse")(own.method) for own, _ in whole if own.loss == CONTENT]
    least = min((rmse for rmse in contents if rmse is not None), default=None)
    rows = []
    for own, projected in whole:
        before, after = (_total(synthesis, "rmse")(one.method) for one in (own, projected))
        lost = None if before is None or least is None or own.loss == CONTENT else before - least
        share = None
        if before is not None and after is not None and lost is not None and lost > _LEAST_LOST * (before - lost):
            share = 100 * (before - after) / lost
        cells = [_number(before, 2), _number(after, 2), _number(lost, 2), _number(share, 0)]
        for value, digits in (
            (_total(consistency, "rmse"), 2),
            (_total(synthesis, "niqe"), 2),
            (_finest(synthesis), 3),
        ):
            cells += [_number(value(one.method), digits) for one in (own, projected)]
        rows.append((own.name, cells))
    heading = ["run", "RMSE", f"RMSE{_PROJECTED}", "lost to content", "given back, %"]
    heading += [text for name in ("consistency", "NIQE", "finest power") for text in (name, f"{name}{_PROJECTED}")]
    said = (
        "Lost to content: RMSE above that of the best run without a critic. Given back: (RMSE - back-projected RMSE) / "
        "lost; below 0 it costs more; not told where less than 2 % was lost.",
        f"Finest power: power ratio at {_EDGES[-2]:g} to {_EDGES[-1]:g} cycles per pixel.",
    )
    return Grid(f"{_titled(label)}: what back-projection gives back", heading, rows, said)


def _section(run: Run, label: str, losses: dict[str, str]) -> dict[str, Any]:
    """Return what the page shows of an evaluation: figures of the runs as trained and back-projected, and pictures."""
    evaluation = run.evaluations[label]
    ours = variants(evaluation, losses)
    figures = []
    for projected in (False, True):
        shown = {one.run: one.method for one in ours if one.projected == projected}
        methods = {name: name for name in evaluation["mean"] if name == "bicubic"} | shown
        renamed = [
            {"spectra": {name: (scene.get("spectra") or {}).get(method) for name, method in methods.items()}}
            for scene in evaluation["scenes"]
        ]
        plots = spectrum_plots({**evaluation, "scenes": renamed}, method_colours(list(methods), list(shown)), [])
        what = "back-projected" if projected else "as trained"
        figures += [(f"{caption}, {what}", svg_uri(text)) for caption, text in plots.items() if shown]
    drawn = trade_off([(one.run, one.projected, evaluation["mean"][one.method]["total"]) for one in ours])
    figures = ([("Distortion against naturalness", svg_uri(drawn))] if drawn else []) + figures
    networks = [one.method for one in ours]
    colours = method_colours(list(evaluation["mean"]), networks)
    scenes = [scene["scene"] for scene in evaluation["scenes"]]
    return {
        "name": _titled(label),
        "anchor": label,
        "figures": figures,
        "worst": [(name, worst_section(run.worst[label, name])) for name in scenes if (label, name) in run.worst],
        "pictures": [
            (name, scene_section(run.panels[label, name], networks, colours))
            for name in scenes
            if (label, name) in run.panels
        ],
    }


def _titled(label: str) -> str:
    return label.replace("_", ", ").capitalize()


def _over(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base


def _number(value: float | None, digits: int) -> Cell:
    return Cell(UNDEFINED if value is None else f"{round(value, digits) + 0.0:.{digits}f}")
