"""Figures of an evaluation: what is drawn is what was measured, whoever took part and whatever is missing."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from skimage.color import deltaE_ciede2000, rgb2lab

from hpc_sr.report.figures import colours
from hpc_sr.report.figures.colours import CLASSICAL, method_colours
from hpc_sr.report.figures.course import BASELINE, OURS
from hpc_sr.report.figures.evaluation import band_bars, interval_plot, mean_spectra, plain, spectrum_plots

SEVEN = [*CLASSICAL, "s2x"]
#: What dichromats see, in linear RGB (Machado et al. 2009, severity 1).
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def seen(colour: str, vision: str) -> np.ndarray:
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    turned = np.clip(np.array(VISION[vision]) @ linear, 0, 1)
    return rgb2lab(np.where(turned <= 0.0031308, turned * 12.92, 1.055 * turned ** (1 / 2.4) - 0.055)[None])[0]


def bars(svg: str, colour: str) -> list[float]:
    """Return the heights over the axis of the bars of a colour, left to right; the last one is the legend's."""
    paths = re.findall(rf'<path d="([^"]+)"[^>]*style="fill: {colour}[^"]*"', svg)
    corners = [np.array(re.findall(r"[ML] (\S+) (\S+)", path), float) for path in paths]
    y, height = map(float, re.search(r'<rect x="[^"]+" y="([^"]+)" width="[^"]+" height="([^"]+)"', svg).groups())
    return [y + height - float(corner[:, 1].min()) for corner in corners]


@pytest.mark.parametrize("vision", VISION)
def test_all_colours_can_be_told_apart(vision):
    palette = [*colours._KNOWN.values(), OURS, *colours._FURTHER]
    pairs = itertools.combinations([seen(colour, vision) for colour in palette], 2)
    assert min(deltaE_ciede2000(one, other) for one, other in pairs) > 14


def test_the_network_and_bicubic_always_have_the_same_colour():
    for methods in (SEVEN, ["bicubic", "s2x"], ["nearest", "s2x", "bicubic"], ["bicubic", "other", "s2x"]):
        given = method_colours(methods, ["s2x"])
        assert (given["s2x"], given["bicubic"]) == (OURS, BASELINE)
        assert list(given) == methods
        assert len(set(given.values())) == len(methods)
    assert OURS not in method_colours(["a", "b", "bicubic"], []).values()
    many = [f"run {number}" for number in range(40)]
    assert list(method_colours(many, many)) == many


def test_bars_are_as_high_as_the_errors(evaluation):
    one = evaluation(others=CLASSICAL)
    given = method_colours(SEVEN, ["s2x"])
    svg = band_bars(one, given, ["s2x"])
    heights = {method: bars(svg, colour)[:6] for method, colour in given.items()}
    errors = {method: [one["mean"][method]["bands"][band]["rmse"] for band in one["bands"]] for method in SEVEN}
    unit = heights["bicubic"][0] / errors["bicubic"][0]
    for method in SEVEN:
        np.testing.assert_allclose(heights[method], np.array(errors[method]) * unit, rtol=1e-4)
    assert all(f">{method}</text>" in svg for method in SEVEN)


def test_an_error_that_does_not_exist_leaves_a_gap(evaluation):
    one = evaluation()
    one["mean"]["s2x"]["bands"]["B05"]["rmse"] = None
    heights = bars(band_bars(one, method_colours(["bicubic", "s2x"], ["s2x"]), ["s2x"]), OURS)
    assert len(heights) == 5 + 1
    for method in one["mean"].values():
        method["bands"] = {band: {"rmse": None} for band in one["bands"]}
    assert ">B05</text>" in band_bars(one, method_colours(["bicubic", "s2x"], ["s2x"]), ["s2x"])


def test_intervals_are_shown_only_where_there_are_several_scenes(evaluation):
    given = method_colours(["bicubic", "s2x"], ["s2x"])
    shown = interval_plot(evaluation(), given, ["s2x"])
    assert ">RMSE ↓</text>" in shown
    assert interval_plot(evaluation(scenes=("one",)), given, ["s2x"]) is None
    without = evaluation()
    del without["intervals"]
    assert interval_plot(without, given, ["s2x"]) is None


def test_spectra_are_means_over_bands_and_scenes(evaluation):
    one = evaluation()
    for factor, scene in enumerate(one["scenes"]):
        scene["spectra"] = {
            "s2x": {
                band: {key: [factor + index] * 32 for key in ("frequency", "coherence", "transfer")}
                for index, band in enumerate(one["bands"])
            },
            "bicubic": None,
        }
    np.testing.assert_allclose(mean_spectra(one, "s2x")["coherence"], 3.0)
    assert mean_spectra(one, "bicubic") is None


def test_the_finest_frequency_of_the_input_is_marked_where_the_input_is_coarser(evaluation):
    given = method_colours(["bicubic", "s2x"], ["s2x"])
    for protocol, marked in (("synthesis", True), ("truth", True), ("consistency", False)):
        plots = spectrum_plots(evaluation(protocol=protocol), given, ["s2x"])
        assert len(plots) == 3
        assert all((">finest of the input</text>" in svg) == marked for svg in plots.values())
    assert sum(">measured</text>" in svg for svg in plots.values()) == 1, "its own power is in one figure"


def test_an_evaluation_without_spectra_has_no_figures_of_them(evaluation):
    one = evaluation()
    one["scenes"][0]["spectra"] = {}
    del one["scenes"][1]["spectra"]
    assert spectrum_plots(one, method_colours(["bicubic", "s2x"], ["s2x"]), ["s2x"]) == {}


@pytest.mark.parametrize("name", ["_hidden", "$x_{1$", "a very long name of a run " * 4, "<b>&"])
def test_any_name_is_drawn_as_it_is(evaluation, name):
    one = evaluation(family=name, others=CLASSICAL)
    given = method_colours([*CLASSICAL, name], [name])
    for svg in (
        band_bars(one, given, [name]),
        interval_plot(one, given, [name]),
        *spectrum_plots(one, given, []).values(),
    ):
        assert "<svg" in svg
    assert len(plain(name)) <= 24
    if name[0] in "_$":
        assert f">{name}</text>" in band_bars(one, given, [name])
