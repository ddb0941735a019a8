"""Picture panels: pixels as they are, one stretch, one colour scale, no data in grey."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.image import imread

from hpc_sr.report.figures.panels import before_and_after, scene_pictures


def pixels(png: bytes) -> np.ndarray:
    return imread(io.BytesIO(png), format="png")[..., :3]


def names(pictures) -> list[str]:
    return [picture.caption.split(":")[0] for picture in pictures]


def test_pictures_keep_their_pixels_and_share_a_stretch(panels):
    shown = scene_pictures(panels())
    guide, given, measured = (pixels(picture.png) for picture in shown.measured)
    bicubic, ours = (pixels(estimate.image.png) for estimate in shown.estimates)
    assert names(shown.measured) == ["guide", "input", "measured"]
    assert [image.shape[0] for image in (guide, given, measured, bicubic, ours)] == [24, 12, 24, 24, 24]
    np.testing.assert_array_equal(given, measured[::2, ::2])
    assert (bicubic >= ours).all(), "brighter by 0.02 everywhere, against 0.005"
    assert (ours >= measured).all()


def test_error_maps_share_a_scale_that_the_bar_shows(panels):
    shown = scene_pictures(panels())
    assert [estimate.error.caption for estimate in shown.estimates] == ["mean error 200.0", "mean error 50.0"]
    worse, better = (pixels(estimate.error.png) for estimate in shown.estimates)
    bar = pixels(shown.bar)[0]
    assert shown.bar_top == pytest.approx(200.0, rel=1e-4)
    np.testing.assert_allclose(worse[0, 0], bar[-1], atol=0.02)
    np.testing.assert_allclose(better[0, 0], bar[round(0.25 * 255)], atol=0.02)


@pytest.mark.parametrize(
    ("methods", "scaled_by", "top"),
    [(("nearest", "bicubic", "s2x"), "bicubic", 125.0), (("theirs", "others"), "theirs", 200.0)],
)
def test_bicubic_sets_the_colour_scale_wherever_it_stands_else_the_first_method(panels, methods, scaled_by, top):
    shown = scene_pictures(panels(methods=methods))
    assert shown.scaled_by == scaled_by
    assert shown.bar_top == pytest.approx(top, rel=1e-3)


def test_seven_methods_are_shown_in_their_order(panels):
    methods = ("nearest", "bilinear", "bicubic", "guided", "atprk", "supreme", "s2x")
    shown = scene_pictures(panels(methods=methods))
    assert tuple(estimate.image.caption for estimate in shown.estimates) == methods


def test_before_and_after_are_in_one_stretch(panels):
    arrays = panels(methods=("s2x",))
    arrays["method_0"] = np.repeat(np.repeat(arrays["input"], 2, axis=1), 2, axis=2)
    before, after = (pixels(picture.png) for picture in before_and_after(arrays))
    assert before.shape[0] == 12 and np.ptp(before) > 0.9
    np.testing.assert_array_equal(before, after[::2, ::2])
    arrays["method_0"] += 0.05
    assert (pixels(before_and_after(arrays)[1].png) >= after).all()


@pytest.mark.parametrize("bands", [["B01"], ["B01", "B09"], ["B05", "B8A", "B11"]])
def test_any_number_of_bands_and_missing_layers_make_pictures(panels, bands):
    arrays = panels(bands=bands, scale=6)
    assert len(scene_pictures(arrays).measured) == 3
    del arrays["guide"], arrays["truth"]
    shown = scene_pictures(arrays)
    assert names(shown.measured) == ["input"]
    assert [(estimate.image.caption, estimate.error) for estimate in shown.estimates] == [
        ("bicubic", None),
        ("s2x", None),
    ]
    assert shown.bar == b""


def test_a_constant_band_makes_a_picture(panels):
    arrays = panels()
    arrays["truth"][:] = 0.25
    with np.errstate(all="raise"):
        shown = scene_pictures(arrays)
    assert np.ptp(pixels(shown.measured[-1].png)) == 0


def test_an_input_on_the_truths_grid_is_shown_once(panels):
    assert names(scene_pictures(panels(scale=1)).measured) == ["guide", "measured"]


def test_no_data_is_grey_and_does_not_spoil_the_stretch(panels):
    arrays = panels()
    arrays["truth"][:, :3], arrays["method_1"][:, :3] = np.nan, np.nan
    measured = pixels(scene_pictures(arrays).measured[-1].png)
    assert np.ptp(measured[:3]) == 0
    assert 0.5 < measured[0, 0, 0] < 0.95
    assert np.ptp(measured[3:]) > 0.9
    arrays["truth"][:] = np.nan
    assert scene_pictures(arrays).estimates[0].error.caption == "no data"
