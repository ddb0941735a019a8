"""Metrics of odd input: what does not exist is None, what cannot be scored is a typed error, nothing is NaN."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from made_pairs import random_pair, scores

from hpc_sr.errors import NotFiniteError, ShapeError
from hpc_sr.evaluate.metrics.measure import CONSTANTS, ImageSums, finish, measure
from hpc_sr.report.tables import SCORES

BANDS = ("B05", "B06", "B07", "B8A", "B11", "B12")


def test_a_perfect_estimate_has_no_finite_decibels():
    x, _ = random_pair()
    result = scores(x, x)
    assert result["total"]["rmse"] == result["total"]["ergas"] == 0.0
    assert result["total"]["psnr"] is result["total"]["bpsnr"] is result["total"]["sre"] is None
    assert result["total"]["ssim"] == pytest.approx(1.0)
    assert result["total"]["uiq"] == pytest.approx(1.0)


def test_rounding_is_no_error_to_make_decibels_of():
    x, _ = random_pair()
    result = scores(x + 3000, (x + 3000) * (1 + 1e-7))
    assert result["total"]["rmse"] > 0
    decibels = {"sre", "sre_power", "psnr", "psnr_image_max", "bpsnr"}
    for found in (result["total"], result["bands"]["B0"]):
        assert {found[key] for key in decibels & set(found)} == {None}
    assert scores(x + 3000, (x + 3000) * (1 + 1e-5))["total"]["sre"] == pytest.approx(100, abs=1)


def test_single_numbers_have_no_angle():
    x, y = random_pair()
    assert scores(x[:1], y[:1])["total"]["sam"] is None and scores(x, y)["total"]["sam"] > 0


@pytest.mark.parametrize("bias", [0.1, 1234.567, -777.0])
def test_a_pure_bias_has_no_finite_bpsnr(bias):
    x, _ = random_pair()
    assert scores(x, x + bias)["total"]["bpsnr"] is None


def test_flat_windows_score_by_luminance_alone():
    flat = torch.full((1, 12, 12), 1234.567, dtype=torch.float64)
    assert scores(flat, flat)["total"]["uiq"] == 1.0
    assert scores(flat, 3 * flat)["total"]["uiq"] == pytest.approx(0.6)
    assert scores(0 * flat, 0 * flat)["total"]["uiq"] == 1.0
    textured, _ = random_pair((1, 12, 12))
    assert scores(flat, textured)["total"]["uiq"] == pytest.approx(0.0, abs=1e-9)


def test_a_reference_of_mean_zero_has_no_sre_and_no_ergas():
    x, y = random_pair((2, 16, 16))
    x[1] = 0.0
    result = scores(x, y)
    assert result["bands"]["B1"]["sre"] is result["total"]["sre"] is result["total"]["ergas"] is None
    assert result["bands"]["B0"]["sre"] is not None


def test_no_pixels_have_no_scores_and_an_image_below_the_window_no_ssim():
    x, y = random_pair((2, 16, 16))
    nothing = scores(x, y, mask=torch.zeros(16, 16, dtype=torch.bool))
    assert nothing["pixels"] == 0
    assert {value for score in (nothing["total"], *nothing["bands"].values()) for value in score.values()} == {None}
    small = scores(x[..., :10, :], y[..., :10, :])["total"]
    assert small["ssim"] is None
    assert small["uiq"] is not None


def test_every_score_has_its_column_in_the_tables():
    result = scores(*random_pair((2, 16, 16)))
    given = {*result["total"], *result["bands"]["B0"], "niqe", "lpips"}
    assert given == {score.key for score in SCORES}


def test_scores_and_constants_are_json_without_nan():
    x, _ = random_pair((2, 16, 16))
    json.dumps([scores(x, x), scores(0 * x, x), CONSTANTS], allow_nan=False)


@pytest.mark.parametrize("level", [0.0, 1234.567])
def test_a_constant_band_has_no_correlation_and_a_defined_q(level):
    x, y = random_pair((2, 40, 40))
    flat = torch.full_like(x, level)
    for result in (scores(flat, y), scores(x, flat), scores(flat, flat)):
        assert result["bands"]["B0"]["correlation"] is result["total"]["correlation"] is None
    assert scores(x, flat)["bands"]["B0"]["q_index"] == pytest.approx(0.0, abs=1e-9)
    assert scores(flat, flat)["bands"]["B0"]["q_index"] is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_is_an_error_that_counts_it(value):
    x, y = random_pair()
    y[2, 3, 4] = y[0, 0, 0] = value
    with pytest.raises(NotFiniteError, match="2 values of the estimate"):
        measure(x, y)
    with pytest.raises(NotFiniteError, match="mask"):
        measure(y, x)


def test_shapes_that_do_not_fit_are_errors():
    x, y = random_pair()
    with pytest.raises(ShapeError, match="cannot be compared"):
        measure(x, y[:, :-1])
    with pytest.raises(ShapeError, match="mask"):
        measure(x, y, torch.ones(3, 3))
    with pytest.raises(ShapeError, match="band names"):
        finish(measure(x, y), BANDS[:2], 2)
    with pytest.raises(ShapeError, match="sums"):
        ImageSums.from_vector(np.zeros(7), 6)
    with pytest.raises(ShapeError, match="sums"):
        measure(x, y) + measure(x[:2], y[:2])
