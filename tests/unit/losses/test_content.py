"""Content losses against their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from hpc_sr.losses.content import CHARBONNIER_EPSILON, charbonnier, l1, mse


def test_l1_is_the_mean_absolute_difference() -> None:
    x, y = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(l1(x, y), torch.nn.functional.l1_loss(x, y))


def test_mse_is_the_mean_squared_difference() -> None:
    x, y = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(mse(x, y), torch.nn.functional.mse_loss(x, y))


def test_charbonnier_is_epsilon_at_zero_and_l1_far_from_it() -> None:
    x = torch.zeros(1, 2, 4, 4)
    assert charbonnier(x, x).item() == pytest.approx(CHARBONNIER_EPSILON)
    assert charbonnier(x + 3.0, x).item() == pytest.approx(math.sqrt(9 + CHARBONNIER_EPSILON**2))


def test_losses_do_not_depend_on_the_batch_size() -> None:
    x, y = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)
    for loss in (l1, mse, charbonnier):
        torch.testing.assert_close(loss(x.repeat(5, 1, 1, 1), y.repeat(5, 1, 1, 1)), loss(x, y))
