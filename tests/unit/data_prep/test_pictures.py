"""Maps and contact sheets are read back from their PNG: what is where, in which colour."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread

from data_prep.patches import patch_origins
from data_prep.pictures import _cover, _outlines, common_stretch, contact_sheet, patch_map, quicklook

#: Where a map's picture begins in the PNG, and its longer side.
LEFT, TOP, SIDE = 12, 40, 1000
NONE = np.empty((0, 2), int)


def read(path: Path) -> np.ndarray:
    """Return a PNG as (H, W, 3) uint8."""
    return (imread(path)[..., :3] * 255).round().astype(np.uint8)


def map_of(path: Path, kept: np.ndarray, refused: dict[str, np.ndarray], patch_px: int = 32, side: int = 128):
    """Return the picture of a map over black ground."""
    patch_map(path, np.zeros((50, 50, 3), np.uint8), kept, refused, patch_px, (side, side), "a product")
    return read(path)[TOP : TOP + SIDE, LEFT : LEFT + SIDE]


def test_kept_patches_are_outlined_and_refused_ones_tinted(tmp_path: Path) -> None:
    origins = patch_origins(128, 128, 32, 32, 2)
    left = origins[:, 1] < 64
    refused = {"nodata": NONE, "cloud": origins[left & (origins[:, 0] < 64)], "snow": origins[left][8:][:0]}
    picture = map_of(tmp_path / "map.png", origins[~left], refused)

    at = lambda y, x: picture[int(y * SIDE / 128), int(x * SIDE / 128)].tolist()  # noqa: E731
    assert at(80, 80) == [0, 0, 0] and at(100, 20) == [0, 0, 0], "inside a kept patch, and where no patch is"
    tint = at(20, 20)
    assert max(tint) > 60 and at(50, 50) == tint, "all of a reason in one colour"
    border = picture[SIDE // 2, SIDE // 2 + 1]
    assert border[1] > 200 and border[2] < 60, "the green border of what is kept"
    assert [path.name for path in tmp_path.iterdir()] == ["map.png"]


def test_reasons_keep_their_colour_from_product_to_product(tmp_path: Path) -> None:
    origins = patch_origins(128, 128, 32, 32, 2)
    alone = map_of(tmp_path / "a.png", NONE, {"nodata": NONE, "cloud": origins})
    beside = map_of(tmp_path / "b.png", NONE, {"nodata": origins[:1], "cloud": origins[1:]})
    assert (alone[900, 900] == beside[900, 900]).all() and (beside[5, 5] != beside[900, 900]).any()


@pytest.mark.parametrize("stride", [8, 32])
def test_a_full_product_is_drawn_in_seconds(tmp_path: Path, stride: int) -> None:
    origins = patch_origins(5490, 5490, 32, stride, 2)
    upper = origins[:, 0] < 2000
    began = time.process_time()
    picture = map_of(tmp_path / "map.png", origins[upper], {"cloud": origins[~upper]}, side=5490)
    assert time.process_time() - began < 5
    # What is kept stays visible, however dense the patches are.
    inside = picture[20:340, 20:-20].astype(int)
    assert (inside.max(axis=2) == 0).mean() > 0.5


def test_an_oblong_product_with_nothing_kept(tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    patch_map(path, np.zeros((10, 40, 3), np.uint8), NONE, {"cloud": NONE}, 32, (64, 256), "a product")
    height, width = read(path).shape[:2]
    assert width > SIDE > height


@settings(max_examples=50)
@given(st.lists(st.tuples(*[st.integers(0, 11)] * 4), max_size=6))
def test_painting_by_corners_is_painting_box_by_box(boxes: list[tuple[int, int, int, int]]) -> None:
    corners = np.array([(min(a, b), max(a, b), min(c, d), max(c, d)) for a, b, c, d in boxes], int).reshape(-1, 4).T
    count, line = np.zeros((12, 12), int), np.zeros((12, 12), bool)
    for top, bottom, left, right in corners.T:
        count[top : bottom + 1, left : right + 1] += 1
        line[[top, bottom], left : right + 1] = line[top : bottom + 1, [left, right]] = True
    assert (_cover(corners, (12, 12)) == count).all()
    assert (_outlines(corners, (12, 12)) == line).all()


def test_a_quicklook_is_rgb_in_the_eyes_order_whatever_the_bands_order() -> None:
    ramp = np.arange(1, 10_001, dtype=np.int16).reshape(100, 100)
    layer = np.stack([ramp, ramp[::-1], ramp.T, ramp * 0])  # B02, B03, B04, B08
    picture = quicklook(layer, ("B02", "B03", "B04", "B08"))
    for channel, band in enumerate((2, 1, 0)):
        assert np.corrcoef(picture[..., channel].ravel(), layer[band].ravel())[0, 1] > 0.99
    assert picture.dtype == np.uint8 and (picture.min(), picture.max()) == (0, 255)
    assert (quicklook(layer[:3], ("R", "G", "B")) == picture[..., ::-1]).all()
    grey = quicklook(layer, ("B05", "B06", "B07", "B8A"))
    assert (grey == grey[..., :1]).all() and (grey[..., 0] == picture[..., 2]).all()


@pytest.mark.parametrize(("side", "expected"), [(1000, 1000), (1001, 501), (10_980, 999)])
def test_a_quicklook_is_small(side: int, expected: int) -> None:
    assert quicklook(np.zeros((3, 4, side), np.int16), ("R", "G", "B")).shape[1] == expected


def test_nodata_does_not_dim_the_rest() -> None:
    rng = np.random.default_rng(0)
    layer = rng.integers(1000, 2000, (3, 100, 100)).astype(np.int16)
    dimmed = layer.copy()
    dimmed[:, :, :60] = 0
    whole, half = quicklook(layer, ("R", "G", "B")), quicklook(dimmed, ("R", "G", "B"))
    assert (half[:, :60] == 0).all()
    assert np.abs(half[:, 60:].astype(int) - whole[:, 60:]).max() < 10


def test_one_stretch_makes_patches_comparable() -> None:
    dark, bright = np.full((3, 8, 8), 100, np.int16), np.full((3, 8, 8), 900, np.int16)
    stretch = common_stretch([dark, bright], ("R", "G", "B"))
    assert (quicklook(dark, ("R", "G", "B"), stretch) == 0).all()
    assert (quicklook(bright, ("R", "G", "B"), stretch) == 255).all()


@pytest.mark.parametrize(
    ("count", "together", "columns"), [(0, 1, 10), (1, 1, 10), (12, 1, 10), (32, 4, 8), (5, 11, 11)]
)
def test_a_contact_sheet_shows_every_patch_unsmoothed(tmp_path: Path, count: int, together: int, columns: int) -> None:
    rng = np.random.default_rng(count)
    patches = [rng.integers(0, 255, (16, 16, 3)).astype(np.uint8) for _ in range(count)]
    path = tmp_path / "sheet.png"
    contact_sheet(path, [(patch, f"33UUB\n{k}") for k, patch in enumerate(patches)], "a store", together)
    sheet = read(path)
    for k, patch in enumerate(patches):
        top, left = 40 + k // columns * 178, 12 + k % columns * 140
        shown = sheet[top : top + 128, left : left + 128]
        assert (shown[4::8, 4::8] == patch).all()
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
