"""What a page shows of one evaluation and of one scene's panels, ready for the templates."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

from hpc_sr.report.figures.evaluation import Colours, band_bars, interval_plot, spectrum_plots
from hpc_sr.report.figures.panels import before_and_after, scene_pictures, worst_places
from hpc_sr.report.figures.pixels import chosen_pixels, pixel_spectra
from hpc_sr.report.page import png_uri, svg_uri
from hpc_sr.report.rendering import Grid
from hpc_sr.report.run_directory import Panels, estimates
from hpc_sr.report.tables import Evaluation, band_grids, class_grid, notes, paired_grid, total_grid

#: Columns of a table that a page of paper has room for.
_WIDEST = 9
_HOW_TO_READ = (
    "Detail is real where it has the power of the measured bands and also their phase. Coherence near 1: what is "
    "there is right; power near 1 at low coherence: invented or noise; power falling to 0: blur. "
)
_BEYOND = (
    "Right of the dotted line lies what the coarse bands cannot hold: only there does super-resolution show, and a "
    "method that keeps its coherence there brings back real frequencies. "
)
_WITHIN = "The coarse bands hold all these frequencies: both should stay near 1. "
_MEANS = "Means over bands and scenes; the dark line marks 1, and power is cut off at 2."


def evaluation_section(evaluation: Evaluation, networks: list[str], colours: Colours) -> dict[str, Any]:
    """Return tables and figures of an evaluation; the `networks` are emphasised."""
    spectra = spectrum_plots(evaluation, colours, networks)
    intervals = interval_plot(evaluation, colours, networks)
    figures = {"RMSE by band": band_bars(evaluation, colours, networks)}
    if intervals is not None:
        figures["Mean over scenes and its 95 % interval"] = intervals
    consistency = evaluation["protocol"] == "consistency"
    return {
        "networks": networks,
        "notes": notes(evaluation),
        "totals": in_parts(total_grid(evaluation)),
        "paired": paired_grid(evaluation),
        "bands": band_grids(evaluation),
        "classes": class_grid(evaluation),
        "figures": [(caption, svg_uri(text)) for caption, text in figures.items()],
        "spectra": [(caption, svg_uri(text)) for caption, text in spectra.items()],
        "spectra_meaning": _HOW_TO_READ + (_WITHIN if consistency else _BEYOND) + _MEANS,
    }


def before_and_after_section(native: Panels) -> list[tuple[str, str]]:
    """Return caption and source of the pictures that the page begins with."""
    return [(one.caption, png_uri(one.png)) for one in before_and_after(native)]


def scene_section(panels: Panels, networks: list[str], colours: Colours) -> dict[str, Any]:
    """Return the pictures of a scene, with marks where spectra are shown, and those spectra."""
    pictures, methods = scene_pictures(panels), list(estimates(panels))
    pixels, shown = chosen_pixels(panels), [name for name in methods if name in networks]
    spectra = pixel_spectra(panels, pixels, colours, shown)
    height, width = panels.get("truth", panels["input"]).shape[1:]
    marks = [
        {
            "letter": pixel.letter,
            "left": f"{100 * (pixel.column + 0.5) / width:.2f}",
            "top": f"{100 * (pixel.row + 0.5) / height:.2f}",
        }
        for pixel in (pixels if spectra else ())
    ]
    measured: list[dict[str, Any]] = [
        {"caption": one.caption, "source": png_uri(one.png), "marks": []} for one in pictures.measured
    ]
    measured[-1]["marks"] = marks
    return {
        "columns": _columns(len(methods)),
        "measured": measured,
        "estimates": [
            {
                "caption": one.image.caption,
                "source": png_uri(one.image.png),
                "error": png_uri(one.error.png) if one.error else None,
                "error_caption": one.error.caption if one.error else "",
                "emphasised": one.image.caption in networks,
            }
            for one in pictures.estimates
        ],
        "bar": png_uri(pictures.bar) if pictures.bar else "",
        "bar_top": f"{pictures.bar_top:.0f}",
        "scaled_by": pictures.scaled_by,
        "letters": ", ".join(mark["letter"] for mark in marks),
        "spectra": svg_uri(spectra) if spectra else "",
    }


def worst_section(worst: Panels) -> dict[str, Any]:
    """Return the pictures of the places where networks err most, ready for the page."""
    places = [(place, [(one.caption, png_uri(one.png)) for one in pictures]) for place, pictures in worst_places(worst)]
    return {"places": places, "columns": _columns(1 + len(worst["methods"]))}


def in_parts(grid: Grid) -> list[Grid]:
    """Return a wide table as tables of at most nine columns besides the names, as even as can be."""
    count = len(grid.heading) - 1
    parts = -(-count // _WIDEST)
    starts = [1 + count * part // parts for part in range(parts)] + [1 + count]
    return [
        replace(
            grid,
            title=grid.title if start == 1 else f"{grid.title}, further scores",
            heading=[grid.heading[0], *grid.heading[start:end]],
            rows=[(name, cells[start - 1 : end - 1]) for name, cells in grid.rows],
            notes=grid.notes if end == 1 + count else (),
        )
        for start, end in itertools.pairwise(starts)
    ]


def _columns(count: int) -> int:
    """Return how many of `count` pictures stand in a row, at least four, so that rows are even."""
    rows = -(-count // 5)
    return max(4, -(-count // rows))
