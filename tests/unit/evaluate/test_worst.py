"""Where a method errs most: the same block whoever looks at which windows, and never one that was not measured."""

from __future__ import annotations

import io
from functools import reduce

import numpy as np
import torch

from hpc_sr.evaluate.worst import BLOCK_PX, Worst, worst_file, worst_in

BANDS = ("B05", "B06")


def scene() -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
    """Noise; one method errs most in block (1, 2), the other in (0, 1), where one pixel was not measured."""
    torch.manual_seed(0)
    truth = 1000 + 100 * torch.randn(2, 2 * BLOCK_PX + 7, 4 * BLOCK_PX)
    good, bad = truth + torch.randn_like(truth), truth + torch.randn_like(truth)
    good[:, BLOCK_PX : 2 * BLOCK_PX, 2 * BLOCK_PX : 3 * BLOCK_PX] += 5
    bad[:, :BLOCK_PX, BLOCK_PX : 2 * BLOCK_PX] += 50
    bad[0, :BLOCK_PX, :BLOCK_PX] += 20
    valid = torch.ones(truth.shape[1:], dtype=torch.bool)
    valid[3, BLOCK_PX + 4] = False
    return truth, {"good": good, "bad": bad}, valid


def of_windows(width: int) -> dict[str, Worst]:
    """Return the worst blocks found in windows of so many pixels, seen from right to left."""
    truth, estimates, valid = scene()
    parts = []
    for left in reversed(range(0, truth.shape[2], width)):
        inside = (..., slice(left, left + width))
        images = {name: image[inside] for name, image in estimates.items()}
        parts.append(worst_in(truth[inside], images, valid[inside], (0, left)))
    return {name: reduce(lambda one, other: one.or_worse(other), (part[name] for part in parts)) for name in estimates}


def test_the_worst_block_is_the_same_by_any_windows() -> None:
    truth, estimates, _ = scene()
    for width in (BLOCK_PX, 2 * BLOCK_PX, 4 * BLOCK_PX):
        found = of_windows(width)
        assert found["good"].place == (BLOCK_PX, 2 * BLOCK_PX)
        assert found["bad"].place == (0, 0), "the block of greater error holds a pixel without a measurement"
        inside = (..., slice(BLOCK_PX, 2 * BLOCK_PX), slice(2 * BLOCK_PX, 3 * BLOCK_PX))
        error = (estimates["good"] - truth)[inside].double()
        np.testing.assert_allclose(found["good"].rmse, float(error.square().mean().sqrt()), rtol=1e-12)
        np.testing.assert_array_equal(found["good"].reference, truth[inside])
        np.testing.assert_array_equal(found["good"].estimates["bad"], estimates["bad"][inside])


def test_nothing_is_worst_where_nothing_is_whole() -> None:
    truth, estimates, valid = scene()
    assert worst_in(truth, estimates, torch.zeros_like(valid), (0, 0)) == {}
    small = (..., slice(0, BLOCK_PX - 1), slice(None))
    assert worst_in(truth[small], {n: e[small] for n, e in estimates.items()}, valid[small], (0, 0)) == {}


def test_a_file_holds_each_place_once_and_the_worst_first() -> None:
    found = of_windows(2 * BLOCK_PX)
    with np.load(io.BytesIO(worst_file([found["good"], found["bad"], found["good"]], BANDS))) as held:
        assert list(zip(held["rows"], held["columns"], strict=True)) == [(0, 0), (BLOCK_PX, 2 * BLOCK_PX)]
        assert held["truth"].shape == (2, 2, BLOCK_PX, BLOCK_PX) and held["estimates"].shape[:2] == (2, 2)
        np.testing.assert_allclose(held["estimates"][0, 1], found["bad"].estimates["bad"] / 10_000, rtol=1e-6)
        assert list(held["methods"]) == ["good", "bad"]
