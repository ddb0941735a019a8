"""Pixels whose spectra are shown: those that differ most, away from what is missing, the same ones every time."""

from __future__ import annotations

import numpy as np
import pytest

from hpc_sr.report.figures.colours import method_colours
from hpc_sr.report.figures.pixels import chosen_pixels, pixel_spectra


@pytest.fixture
def quarters(panels):
    """Four kinds of ground, a quarter each, and a lone odd pixel."""
    arrays = panels(size_px=48)
    kinds = np.random.default_rng(3).uniform(0.0, 0.5, (6, 2, 2)).astype(np.float32)
    arrays["truth"] = kinds.repeat(24, axis=1).repeat(24, axis=2)
    arrays["truth"][:, 12, 12] += 0.4
    arrays["method_0"] = arrays["truth"] + np.float32(0.02)
    arrays["method_1"] = arrays["truth"] + np.float32(0.005)
    return arrays


def test_every_kind_of_ground_is_chosen_once(quarters):
    pixels = chosen_pixels(quarters)
    assert [pixel.letter for pixel in pixels] == list("ABCD")
    assert {(pixel.row // 24, pixel.column // 24) for pixel in pixels} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert (12, 12) not in [(pixel.row, pixel.column) for pixel in pixels]
    assert chosen_pixels(quarters) == pixels


def test_pixels_keep_away_from_missing_data_the_edge_and_one_another(panels):
    for seed in range(20):
        arrays = panels(size_px=60, seed=seed)
        arrays["truth"][:, 20:30, 10:30] = np.nan
        arrays["method_1"][2, 50, 50] = np.nan
        known = np.isfinite(arrays["truth"]).all(0) & np.isfinite(arrays["method_1"]).all(0)
        places = [(pixel.row, pixel.column) for pixel in chosen_pixels(arrays)]
        assert len(places) == 4
        for index, (row, column) in enumerate(places):
            assert 4 <= row < 56
            assert 4 <= column < 56
            assert known[row - 2 : row + 3, column - 2 : column + 3].all()
            assert all(np.hypot(row - r, column - c) >= 0.12 * 60 for r, c in places[:index])


def test_where_nothing_differs_or_nothing_is_known_there_are_fewer(panels):
    arrays = panels()
    arrays["truth"][:] = 0.25
    assert len(chosen_pixels(arrays)) == 1
    arrays["truth"][:] = np.nan
    assert chosen_pixels(arrays) == []
    del arrays["truth"]
    assert chosen_pixels(arrays) == []


def test_measured_bicubic_network_and_guide_are_drawn(quarters, panels):
    methods = ("nearest", "bicubic", "s2x")
    quarters |= {"methods": np.array(methods), "method_2": quarters["truth"]}
    colours = method_colours(list(methods), ["s2x"])
    svg = pixel_spectra(quarters, chosen_pixels(quarters), colours, ["s2x"])
    for text in ("A", "D", "measured", "bicubic", "s2x", "guide bands", "wavelength, nm", "reflectance"):
        assert f">{text}</text>" in svg, text
    assert ">nearest</text>" not in svg
    everyone = pixel_spectra(quarters, chosen_pixels(quarters), colours, [])
    assert ">nearest</text>" in everyone


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_each_column_of_plots_has_its_wavelengths_below(quarters, count):
    colours = method_colours(["bicubic", "s2x"], ["s2x"])
    svg = pixel_spectra(quarters, chosen_pixels(quarters)[:count], colours, ["s2x"])
    assert svg.count(">wavelength, nm</text>") == svg.count(">2000</text>") == min(count, 2)


def test_bands_of_unknown_wavelength_have_no_spectra(quarters):
    pixels, colours = chosen_pixels(quarters), method_colours(["bicubic", "s2x"], ["s2x"])
    assert pixel_spectra(quarters, [], colours, []) is None
    quarters["band_nm"][0] = np.nan
    assert pixel_spectra(quarters, pixels, colours, []) is None
    del quarters["band_nm"]
    assert pixel_spectra(quarters, pixels, colours, []) is None
