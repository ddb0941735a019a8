"""Deformable convolution: what it is without shifts, with whole ones, and with any; its slopes; where it starts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hpc_sr.models.deformable import DeformConv, deformed

ATOL = 1e-12


def maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def at(image_CHW: np.ndarray, row: float, column: float) -> np.ndarray:
    """Return the channels between four pixels, zeros around the image."""
    total = np.zeros(len(image_CHW))
    for r in (int(np.floor(row)), int(np.floor(row)) + 1):
        for c in (int(np.floor(column)), int(np.floor(column)) + 1):
            if 0 <= r < image_CHW.shape[1] and 0 <= c < image_CHW.shape[2]:
                total += image_CHW[:, r, c] * (1 - abs(row - r)) * (1 - abs(column - c))
    return total


def by_hand(x: np.ndarray, offsets: np.ndarray, masks: np.ndarray, weight: np.ndarray, groups: int) -> np.ndarray:
    """Return the definition, pixel by pixel and tap by tap."""
    batch, channels, height, width = x.shape
    out, size = np.zeros((batch, len(weight), height, width)), channels // groups
    for b, g, tap, row, column in np.ndindex(batch, groups, 9, height, width):
        down, right = offsets[b, 18 * g + 2 * tap : 18 * g + 2 * tap + 2, row, column]
        part = slice(g * size, (g + 1) * size)
        seen = at(x[b, part], row + tap // 3 - 1 + down, column + tap % 3 - 1 + right)
        out[b, :, row, column] += weight[:, part, tap // 3, tap % 3] @ seen * masks[b, 9 * g + tap, row, column]
    return out


@pytest.mark.parametrize(("groups", "height", "width"), [(1, 1, 1), (2, 5, 7), (3, 8, 1)])
def test_shifts_and_masks_do_what_the_definition_says(groups: int, height: int, width: int) -> None:
    x, weight = maps(2, 6, height, width), maps(4, 6, 3, 3, seed=1)
    offsets, masks = 3 * maps(2, 18 * groups, height, width, seed=2), maps(2, 9 * groups, height, width, seed=3)
    wanted = by_hand(x.numpy(), offsets.numpy(), masks.numpy(), weight.numpy(), groups)
    np.testing.assert_allclose(deformed(x, offsets, masks, weight).numpy(), wanted, rtol=0, atol=ATOL)


def test_without_shifts_it_is_a_convolution_and_with_equal_ones_that_of_the_shifted_map() -> None:
    x, weight, bias = maps(2, 8, 9, 11), maps(5, 8, 3, 3, seed=1), maps(5, seed=2)
    zeros, ones = torch.zeros(2, 36, 9, 11, dtype=torch.float64), torch.ones(2, 18, 9, 11, dtype=torch.float64)
    plain = F.conv2d(x, weight, bias, padding=1)
    torch.testing.assert_close(deformed(x, zeros, ones, weight, bias), plain, rtol=0, atol=ATOL)
    right = zeros.unflatten(1, (18, 2)).clone()
    right[:, :, 1] = 1
    # Tap by tap, so that a pixel beyond the left side is one of the map, not zero: compared inside.
    shifted = F.conv2d(F.pad(x, (0, 1))[..., 1:], weight, bias, padding=1)
    found = deformed(x, right.flatten(1, 2), ones, weight, bias)
    torch.testing.assert_close(found[..., 1:], shifted[..., 1:], rtol=0, atol=ATOL)


def test_slopes_are_those_of_small_changes() -> None:
    given = (maps(1, 4, 3, 4), 0.3 + 0.4 * torch.rand(1, 36, 3, 4, dtype=torch.float64), maps(1, 18, 3, 4, seed=2))
    weights = maps(2, 4, 3, 3, seed=3), maps(2, seed=4)
    # Shifts within a pixel's quarter: bilinear sampling has kinks at whole pixels alone.
    assert torch.autograd.gradcheck(deformed, tuple(t.requires_grad_() for t in (*given, *weights)))


def test_it_begins_as_a_convolution_times_one_half_and_all_of_it_learns() -> None:
    torch.manual_seed(0)
    layer = DeformConv(16, 6, groups=8).double()
    x, guide = maps(2, 16, 6, 5), maps(2, 16, 6, 5, seed=1)
    wanted = F.conv2d(x, layer.weight, padding=1) / 2
    torch.testing.assert_close(layer(x, guide), wanted, rtol=0, atol=ATOL)
    assert 0.9 < float(layer.weight.detach().abs().max()) * (9 * 16) ** 0.5 <= 1 and not layer.bias.any()
    layer(x, guide).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in layer.parameters())


def test_few_digits_of_a_map_leave_places_exact() -> None:
    """A map of bfloat16: what is sampled 200 pixels from the corner is what lies there."""
    x = torch.zeros(1, 1, 256, 256)
    x[..., 201, 203] = 1
    weight, offsets, masks = torch.zeros(1, 1, 3, 3), torch.zeros(1, 18, 256, 256), torch.ones(1, 9, 256, 256)
    weight[..., 1, 1] = 1
    found = deformed(x.bfloat16(), offsets, masks, weight)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, x, rtol=0, atol=1e-4)
