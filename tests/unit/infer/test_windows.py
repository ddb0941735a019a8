"""Windows: every pixel once, mirrored borders, tiled equals untiled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_networks import narrow, trained

from hpc_sr.errors import RecipeError, ShapeError
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.predict import Predictor
from hpc_sr.infer.windows import Area, read_mirrored, tile_cores
from hpc_sr.tasks import S2X, S6X, S26X, Layer, Task

sizes = st.integers(1, 300)
#: Tasks, patches and images of no whole number of them.
SIZES = [(S2X, 8, (90, 76)), (S6X, 12, (102, 78)), (S26X, 12, (102, 78))]


@given(height=sizes, width=sizes, core_px=st.integers(1, 130), shift_px=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_every_pixel_lies_in_one_core(height: int, width: int, core_px: int, shift_px: int) -> None:
    hits = np.zeros((height, width), int)
    for core in tile_cores(height, width, core_px, shift_px):
        hits[core.slices] += 1
        for start, size in ((core.row, core.height), (core.column, core.width)):
            assert 0 < size <= core_px + (shift_px if start == 0 else 0)
            assert start == 0 or start % core_px == shift_px % core_px
    assert (hits == 1).all()


def test_an_empty_image_cannot_be_tiled() -> None:
    with pytest.raises(ShapeError):
        tile_cores(0, 5, 3)


@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    row=st.integers(-50, 50),
    column=st.integers(-50, 50),
    h=st.integers(1, 40),
    w=st.integers(1, 40),
)
@settings(max_examples=100, deadline=None)
def test_mirrored_reading_is_symmetric_padding(height: int, width: int, row: int, column: int, h: int, w: int) -> None:
    image = np.arange(height * width).reshape(1, height, width)
    padded = np.pad(image, ((0, 0), (100, 100), (100, 100)), mode="symmetric")
    expected = padded[:, 100 + row : 100 + row + h, 100 + column : 100 + column + w]

    def read(inside: Area) -> np.ndarray:
        assert inside.within(height, width) == inside
        return image[(slice(None), *inside.slices)]

    assert np.array_equal(read_mirrored(read, Area(row, column, h, w), height, width), expected)


@given(st.integers(-100, 100), st.integers(-100, 100), st.integers(1, 90), st.integers(1, 90), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_aligning_gives_the_smallest_area_on_multiples(row: int, column: int, h: int, w: int, m: int) -> None:
    area = Area(row, column, h, w)
    around = area.aligned(m)
    inside = area.relative_to(around)
    assert around.row % m == around.column % m == around.height % m == around.width % m == 0
    assert 0 <= inside.row < m and 0 <= inside.column < m
    assert 0 <= around.height - inside.row - h < m and 0 <= around.width - inside.column - w < m


@pytest.mark.parametrize(
    ("family", "task", "patch_px", "size"),
    [
        (f, t, px, size)
        for f in ("dsen2", "s2x")
        for t, px, size in ((S2X, 8, (90, 76)), (S6X, 12, (102, 78)), (S26X, 12, (72, 96)))
    ],
)
def test_any_tiling_gives_the_same_prediction(family: str, task: Task, patch_px: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    height, width = size
    layers = {
        x.name: rng.uniform(0, 8000, (len(x.bands), height // x.stride, width // x.stride)).astype(np.float32)
        for x in task.inputs
    }

    def read(layer: Layer, inside: Area) -> np.ndarray:
        return layers[layer.name][(slice(None), *inside.slices)]

    predictor = Predictor.of(trained(task, patch_px, narrow(family, blocks=2)), torch.device("cpu"), "fp32")
    whole = predictor.predict(read, Area(0, 0, height, width), height, width)
    assert whole.shape == (len(task.bands), height, width)
    for core_px in (37, 64):
        for core in tile_cores(height, width, core_px):
            part = predictor.predict(read, core, height, width)
            # Float32 rounding in another order of summation; a misplaced window would differ by hundreds.
            torch.testing.assert_close(part, whole[(slice(None), *core.slices)], rtol=0, atol=0.1)


@pytest.mark.parametrize("side", [-5, 0, 10_981, 10**12])
def test_a_window_has_a_side_that_a_tile_has_room_for(side: int) -> None:
    with pytest.raises(RecipeError, match=f"{side} px is no side of a window.*\n.*10980"):
        InferOptions(window_px=side)
    assert InferOptions(window_px=10_980).window_px == 10_980
