"""Filters on phases are the filters that they are read off from, on images of any size."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from hpc_sr.models import banded
from hpc_sr.models.banded import Band, band_of, coarser, filtered, finer, image_of, phases_of
from hpc_sr.models.blocks import bilinear, bilinear_down
from hpc_sr.models.filters import (
    BICUBIC_REACH_PX,
    BILINEAR_REACH_PX,
    bicubic,
    bicubic_down,
    coarse_support_px,
    correlated,
    correlated_down,
    degraded,
    gaussian_taps,
)
from hpc_sr.sentinel2.degrade import kernel, taps_of_bands

TWO = ("B05", "B11")
SIZES = pytest.mark.parametrize("size", [(1, 1), (2, 3), (19, 14)])  # shorter than a filter, and longer


def both(down, like: torch.Tensor, sources: int, reach_px: int) -> tuple[Band, Band]:
    return band_of(down, -2, like, sources, reach_px), band_of(down, -1, like, sources, reach_px)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(2, 2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@SIZES
@pytest.mark.parametrize("scale", [2, 6])
def test_phases_are_taken_apart_enlarged_and_degraded_as_images_are(scale: int, size: tuple[int, int], monkeypatch):
    coarse, taps = noise(*size), taps_of_bands(kernel("mtf", scale, TWO, "S2A"))
    fine, taps = noise(size[0] * scale, size[1] * scale), torch.as_tensor(taps, dtype=torch.float64)
    assert torch.equal(image_of(phases_of(fine, scale), scale), fine)

    def down(x: torch.Tensor) -> torch.Tensor:
        return correlated_down(x.expand(-1, 2, -1, -1), taps, scale)

    def found() -> list[torch.Tensor]:
        cubic = both(partial(bicubic_down, scale=scale), coarse, 1, BICUBIC_REACH_PX)
        linear = both(partial(bilinear_down, scale=scale), coarse, 1, BILINEAR_REACH_PX)
        support_px = coarse_support_px(taps, scale)
        down_up = both(lambda x: down(bicubic_down(x, scale)), coarse, 1, support_px + BICUBIC_REACH_PX)
        return [
            image_of(list(finer(coarse, cubic)), scale),
            image_of(list(finer(coarse, linear)), scale),
            coarser(phases_of(fine, scale), both(down, coarse, scale, support_px)),
            coarser([coarse], down_up),
        ]

    at_once = found()
    wanted = [bicubic(coarse, scale), bilinear(coarse, scale), degraded(fine, taps, scale)]
    for seen, expected in zip(at_once, [*wanted, degraded(wanted[0], taps, scale)], strict=True):
        torch.testing.assert_close(seen, expected, rtol=0, atol=1e-12)
    monkeypatch.setattr(banded, "_RUN_VALUES", 1)  # a row at a time
    assert all(torch.equal(one, other) for one, other in zip(found(), at_once, strict=True))


@SIZES
@pytest.mark.parametrize("sigma_px", [0.8, 2.0])
def test_a_window_on_the_coarse_grid_is_the_gaussian(sigma_px: float, size: tuple[int, int]):
    x, taps = noise(*size), gaussian_taps(sigma_px, 4.0)
    rows, columns = both(lambda x: correlated_down(x, taps), x, 1, taps.shape[1] // 2)
    found = filtered(filtered([x], rows), columns)[0]
    torch.testing.assert_close(found, correlated(x, taps), rtol=0, atol=1e-12)
