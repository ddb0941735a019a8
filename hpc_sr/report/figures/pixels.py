"""Spectra of a few pixels that differ most: reflectance over wavelength, as measured and as estimated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.ndimage import binary_erosion, uniform_filter

from hpc_sr.report.figures.course import INK, STYLE, svg_text
from hpc_sr.report.figures.evaluation import Colours, add_legend
from hpc_sr.report.run_directory import Panels, estimates

LETTERS = "ABCD"
#: Pixels around a chosen one that must have data, so that it lies on no border of a gap.
_AWAY_PX = 2
#: Share of the picture's width and height at its edges where no mark would find room.
_EDGE = 0.06
#: Share of the picture's longer side that marks keep from one another.
_APART = 0.12
_SIZE_INCH = (4.8, 4.2)


@dataclass(frozen=True)
class Pixel:
    """A pixel of the target grid and the letter that marks it."""

    letter: str
    row: int
    column: int


def chosen_pixels(panels: Panels) -> list[Pixel]:
    """Return four pixels (fewer if there are no more) whose measured surroundings differ most, [] without a truth.

    The first is nearest to the scene's median spectrum; each further one is farthest from all before it. Spectra are
    means of 3 x 3 pixels, so that a lone odd pixel is not chosen, in units of each band's standard deviation.
    Pixels near the picture's edge, near missing data and near one another are left out.
    """
    if "truth" not in panels:
        return []
    truth_CHW = panels["truth"].astype(np.float64)
    known = np.isfinite(truth_CHW).all(0)
    for image in estimates(panels).values():
        known &= np.isfinite(image).all(0)
    height, width = known.shape
    rows, columns = max(1, round(_EDGE * height)), max(1, round(_EDGE * width))
    inside = np.zeros_like(known)
    inside[rows : height - rows, columns : width - columns] = True
    places = np.argwhere(binary_erosion(known, np.ones((2 * _AWAY_PX + 1,) * 2), border_value=1) & inside)
    if not len(places):
        return []
    around_CHW = uniform_filter(np.nan_to_num(truth_CHW), size=(0, 3, 3))
    spectra_NC = around_CHW[:, places[:, 0], places[:, 1]].T
    spectra_NC = spectra_NC / np.maximum(spectra_NC.std(axis=0), 1e-12)
    differs = np.full(len(places), np.inf)
    index = int(np.argmin(_distance(spectra_NC, np.median(spectra_NC, axis=0))))
    chosen: list[int] = []
    while len(chosen) < len(LETTERS) and differs[index] > 0:
        chosen.append(index)
        differs = np.minimum(differs, _distance(spectra_NC, spectra_NC[index]))
        differs[_distance(places, places[index]) < _APART * max(height, width)] = 0.0
        index = int(np.argmax(differs))
    return [Pixel(letter, *map(int, places[index])) for letter, index in zip(LETTERS, chosen, strict=False)]


def pixel_spectra(panels: Panels, pixels: list[Pixel], colours: Colours, emphasised: list[str]) -> str | None:
    """Return the spectra of the pixels as SVG text: measured, bicubic and the `emphasised` methods, guide in grey.

    Where nothing is emphasised all methods are drawn. None without pixels, or if a band's wavelength is not known.
    """
    wavelengths = np.asarray(panels.get("band_nm", ()), float)
    if not pixels or len(wavelengths) != len(panels["bands"]) or not (wavelengths > 0).all():
        return None
    methods = {
        name: image
        for name, image in estimates(panels).items()
        if not emphasised or name == "bicubic" or name in emphasised
    }
    with rc_context({**STYLE, "axes.titlesize": 9}):
        figure = Figure(figsize=_SIZE_INCH, layout="constrained")
        grid = figure.subplots(1 if len(pixels) <= 2 else 2, 2, sharex=True, squeeze=False)
        handles: dict[str, Artist] = {}
        for axes, pixel in zip(grid.flat, pixels, strict=False):
            handles |= _draw(axes, panels, pixel, wavelengths, methods, colours, emphasised)
        for axes in grid.flat[len(pixels) :]:
            axes.set_axis_off()
        add_legend(figure, handles, emphasised)
        for axes in grid.flat[: len(pixels)][-2:]:  # the lowest of each column
            axes.set_xlabel("wavelength, nm")
            axes.xaxis.set_tick_params(labelbottom=True)
        for axes in grid[:, 0]:
            axes.set_ylabel("reflectance")
        return svg_text(figure)


def _draw(
    axes: Axes,
    panels: Panels,
    pixel: Pixel,
    wavelengths: np.ndarray,
    methods: dict[str, np.ndarray],
    colours: Colours,
    emphasised: list[str],
) -> dict[str, Artist]:
    """Draw one pixel and return what a legend needs."""
    order, here = np.argsort(wavelengths), (slice(None), pixel.row, pixel.column)
    x = wavelengths[order]
    handles: dict[str, Artist] = {}
    (handles["measured"],) = axes.plot(
        x, panels["truth"][here][order], "o-", color="black", linewidth=3.0, markersize=5, alpha=0.45
    )
    for name, image in methods.items():
        form, width = ("o-", 1.5) if name in emphasised else ("s--", 1.1)
        (handles[name],) = axes.plot(
            x, image[here][order], form, color=colours.get(name, INK), linewidth=width, markersize=3
        )
    if "guide" in panels and "guide_nm" in panels:
        guide_nm, grey = panels["guide_nm"], "#8d8d8d"
        (handles["guide bands"],) = axes.plot(guide_nm, panels["guide"][here], "D", color=grey, markersize=4)
    axes.set_title(pixel.letter, loc="left", fontweight="bold")
    axes.set_title(f"row {pixel.row}, column {pixel.column}", loc="right", fontsize=7.5)
    axes.margins(y=0.12)
    return handles


def _distance(points_NC: np.ndarray, point_C: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points_NC - point_C, axis=1)
