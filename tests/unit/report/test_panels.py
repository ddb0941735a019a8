"""Picture panels: pixels as they are, one stretch, one colour scale, no data in grey."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.image import imread

from hpc_sr.report.panels import scene_pictures


def pixels(png: bytes) -> np.ndarray:
    return imread(io.BytesIO(png), format="png")[..., :3]


def test_pictures_keep_their_pixels_and_share_a_stretch(panels):
    shown = scene_pictures(panels(), "s2x")
    sizes = {picture.caption.split(":")[0]: pixels(picture.png).shape[0] for picture in shown.images}
    assert sizes == {"guide": 24, "input": 12, "bicubic": 24, "s2x": 24, "measured": 24}
    by_name = {picture.caption.split(":")[0]: pixels(picture.png) for picture in shown.images}
    np.testing.assert_array_equal(by_name["input"], by_name["measured"][::2, ::2])
    assert (by_name["bicubic"] >= by_name["measured"]).all(), "brighter by 0.02 everywhere"


def test_error_maps_share_a_scale_that_the_bar_shows(panels):
    shown = scene_pictures(panels(), "s2x")
    assert [picture.caption for picture in shown.errors] == [
        "|bicubic − measured|, mean 200.0", "|s2x − measured|, mean 50.0"
    ]  # fmt: skip
    worse, better = (pixels(picture.png) for picture in shown.errors)
    bar = pixels(shown.bar)[0]
    assert shown.bar_top == pytest.approx(200.0, rel=1e-4)
    np.testing.assert_allclose(worse[0, 0], bar[-1], atol=0.02)
    np.testing.assert_allclose(better[0, 0], bar[round(0.25 * 255)], atol=0.02)


@pytest.mark.parametrize("bands", [["B01"], ["B01", "B09"], ["B05", "B8A", "B11"]])
def test_any_number_of_bands_and_missing_layers_make_pictures(panels, bands):
    arrays = panels(bands=bands, scale=6)
    assert len(scene_pictures(arrays, "net").images) == 5
    del arrays["guide"], arrays["truth"]
    shown = scene_pictures(arrays, "net")
    assert [picture.caption.split(":")[0] for picture in shown.images] == ["input", "bicubic", "net"]
    assert shown.errors == []


def test_an_input_on_the_truths_grid_is_shown_once(panels):
    arrays = panels(scale=1)
    assert [p.caption.split(":")[0] for p in scene_pictures(arrays, "net").images] == [
        "guide",
        "bicubic",
        "net",
        "measured",
    ]


def test_no_data_is_grey_and_does_not_spoil_the_stretch(panels):
    arrays = panels()
    arrays["truth"][:, :3], arrays["sr"][:, :3] = np.nan, np.nan
    shown = scene_pictures(arrays, "net")
    measured = pixels(shown.images[-1].png)
    assert np.ptp(measured[:3]) == 0
    assert 0.5 < measured[0, 0, 0] < 0.95
    assert np.ptp(measured[3:]) > 0.9
    arrays["truth"][:] = np.nan
    assert scene_pictures(arrays, "net").errors[0].caption == "|bicubic − measured|, no data"
