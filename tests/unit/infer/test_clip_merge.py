"""Clip-and-merge: every pixel once, nothing changed where nothing looks around, and what an overlap is worth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from made_networks import as_trained, narrow, trained
from made_networks import network as made_network

from hpc_sr.errors import ShapeError
from hpc_sr.infer.pictures.clip_merge import clip_and_merge, exact_overlap_px, upscale_tile
from hpc_sr.infer.predict import Predictor
from hpc_sr.infer.windows import Area
from hpc_sr.models.facts import Facts
from hpc_sr.models.options import parse_model
from hpc_sr.tasks import Layer, Units, task_by_name

SEEDS = range(60)


def drawn(seed: int) -> tuple[int, int, int, int, int]:
    """Return height, width, scale, tile and overlap: images smaller than a tile, overlaps above half among them."""
    rng = np.random.default_rng(seed)
    tile = int(rng.integers(1, 40))
    height, width = (int(size) for size in rng.integers(1, 120, 2))
    return height, width, int(rng.integers(1, 5)), tile, int(rng.integers(0, tile))


def nearest(image: np.ndarray, scale: int) -> np.ndarray:
    return np.repeat(np.repeat(image, scale, -2), scale, -1)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_pixel_is_kept_once_and_seen_by_who_keeps_it(seed: int) -> None:
    height, width, scale, tile_px, overlap_px = drawn(seed)
    kept = np.zeros((height * scale, width * scale), int)
    for tile in clip_and_merge(height, width, scale, tile_px, overlap_px):
        assert tile.seen.within(height, width) == tile.seen
        assert (tile.seen.height, tile.seen.width) == (min(tile_px, height), min(tile_px, width))
        assert tile.kept.common(tile.seen.times(scale)) == tile.kept
        kept[tile.kept.slices] += 1
    assert (kept == 1).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_what_looks_at_no_neighbour_is_put_together_exactly(seed: int) -> None:
    height, width, scale, tile_px, overlap_px = drawn(seed)
    image = np.random.default_rng(seed).random((2, height, width))
    merged = np.full((2, height * scale, width * scale), np.nan)
    for tile in clip_and_merge(height, width, scale, tile_px, overlap_px):
        upscaled = nearest(image[(slice(None), *tile.seen.slices)], scale)
        merged[(slice(None), *tile.kept.slices)] = upscaled[(slice(None), *tile.cut(scale))]
    np.testing.assert_array_equal(merged, nearest(image, scale))


@pytest.mark.parametrize("seed", SEEDS)
def test_each_side_inside_loses_half_of_the_overlap_that_there_is(seed: int) -> None:
    height, width, scale, tile_px, overlap_px = drawn(seed)
    tiles = clip_and_merge(height, width, scale, tile_px, overlap_px)
    columns = [tile for tile in tiles if tile.seen.row == 0]
    for left, right in zip(columns, columns[1:], strict=False):
        overlap = (left.seen.column + left.seen.width - right.seen.column) * scale
        assert overlap >= overlap_px * scale
        end, begin = (left.seen.column + left.seen.width) * scale, right.seen.column * scale
        cut = left.kept.column + left.kept.width
        assert (end - cut, cut - begin) == (overlap // 2, overlap - overlap // 2)
        assert right.kept.column == cut


def test_the_published_tiling_makes_four_quarters() -> None:
    tiles = clip_and_merge(168, 168, scale=4, tile_px=96, overlap_px=24)
    assert [tile.kept for tile in tiles] == [Area(r, c, 336, 336) for r in (0, 336) for c in (0, 336)]
    assert [tile.seen for tile in tiles] == [Area(r, c, 96, 96) for r in (0, 72) for c in (0, 72)]


@pytest.mark.parametrize(
    "sizes", [(0, 9, 2, 8, 2), (9, 9, 0, 8, 2), (9, 9, 2, 8, 8), (9, 9, 2, 8, -1), (9, 9, 2, 0, 0)]
)
def test_sizes_that_tile_nothing_are_refused(sizes: tuple[int, int, int, int, int]) -> None:
    with pytest.raises(ShapeError, match="cannot tile"):
        clip_and_merge(*sizes)


@pytest.fixture(scope="module")
def butterfly(shared_data: Path) -> np.ndarray:
    """A real picture, (3, 85, 57) float32 in 0..255."""
    with rasterio.open(shared_data / "rgb" / "Set5" / "image_SRF_4" / "img_005_SRF_4_LR.png") as picture:
        return picture.read([1, 2, 3])[:, :85].astype(np.float32)


def network(scale: int, blocks: int) -> Predictor:
    """Return a convolutional network of random weights, whose residual on pictures is some twenty grey levels."""
    options = narrow("dsen2", blocks=blocks, residual_scale=0.5)
    generator = made_network(options, task_by_name(f"sisr_x{scale}"), Facts(8 * scale, Units.of("8 bit")), seed=1)
    with torch.no_grad():
        seen = torch.rand(1, 3, 24, 24)
        residual = generator(seen).targets[0] - generator.upsample((seen,))[0]
        generator.head.weight *= 20 / 255 / residual.std()
    return Predictor.of(as_trained(generator, options), torch.device("cpu"), "fp32")


def by_tiles(predictor: Predictor, image: np.ndarray, tile_px: int, overlap_px: int) -> np.ndarray:
    scale, (count, height, width) = predictor.generator.task.scale, image.shape
    merged = np.full((count, height * scale, width * scale), np.nan, np.float32)

    def read(_: Layer, inside: Area) -> np.ndarray:
        assert inside.within(height, width) == inside
        return image[(slice(None), *inside.slices)]

    for tile in clip_and_merge(height, width, scale, tile_px, overlap_px):
        upscaled = upscale_tile(predictor, read, tile.seen, height, width).numpy()
        merged[(slice(None), *tile.kept.slices)] = upscaled[(slice(None), *tile.cut(scale))]
    return merged


def by_halo(predictor: Predictor, image: np.ndarray) -> np.ndarray:
    """Return what exact tiling gives: windows with all that the network can see around them."""
    scale, (_, height, width) = predictor.generator.task.scale, image.shape
    whole = Area(0, 0, height, width).times(scale)
    return predictor.predict(
        lambda _, inside: image[(slice(None), *inside.slices)], whole, whole.height, whole.width
    ).numpy()


@pytest.mark.parametrize(("scale", "blocks"), [(4, 2), (3, 3), (2, 1)])
def test_with_twice_the_reach_it_equals_exact_tiling(butterfly: np.ndarray, scale: int, blocks: int) -> None:
    predictor = network(scale, blocks)
    overlap = exact_overlap_px(predictor.generator)
    exact = by_halo(predictor, butterfly)
    largest = np.abs(by_tiles(predictor, butterfly, overlap + 17, overlap) - exact).max()
    assert largest <= 1e-5 * 255, largest


def test_a_network_that_looks_beyond_a_patch_is_tiled_exactly(butterfly: np.ndarray) -> None:
    """Beyond the border it sees no more than a patch of mirrored pixels, in a tile as in the whole."""
    options = parse_model({"family": "srresnet", "width": 4, "blocks": 3}, "a test")
    made = trained(task_by_name("sisr_x2"), 8, options, units="8 bit")
    predictor, coarse = Predictor.of(made, torch.device("cpu"), "fp32"), butterfly[:, :60]
    overlap = exact_overlap_px(made.generator)
    assert made.generator.halo_px > made.generator.facts.patch_px
    whole = by_tiles(predictor, coarse, 60, 0)
    np.testing.assert_allclose(by_tiles(predictor, coarse, overlap + 5, overlap), whole, rtol=0, atol=2e-3)


@pytest.mark.parametrize("beyond", [5, 6, 7, 8])
def test_a_network_that_pools_is_tiled_exactly_wherever_the_last_tile_begins(beyond: int) -> None:
    options = parse_model({"family": "msfm", "width": 2, "outer_px": 5}, "a test")
    made = trained(task_by_name("sisr_x2"), 16, options, units="8 bit")
    predictor, overlap = Predictor.of(made, torch.device("cpu"), "fp32"), exact_overlap_px(made.generator)
    side = overlap + 33
    picture = np.random.default_rng(0).integers(0, 256, (3, 31, side)).astype(np.float32)
    whole = by_tiles(predictor, picture, side, 0)
    assert whole.shape == (3, 62, 2 * side)
    tiled = by_tiles(predictor, picture, overlap + beyond, overlap)
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-3)


def test_with_less_a_seam_is_left_that_shrinks_with_the_overlap(butterfly: np.ndarray) -> None:
    """Measured, the largest in grey levels: 61 without overlap, 16 at 2 px, 0.56 at 4 px, none at twice the reach."""
    predictor = network(scale=4, blocks=6)
    exact = by_halo(predictor, butterfly)
    assert exact_overlap_px(predictor.generator) == 10
    found = {
        overlap: float(np.abs(by_tiles(predictor, butterfly, 40, overlap) - exact).max()) for overlap in (0, 2, 4, 10)
    }
    assert found[0] > found[2] > 1 > found[4] > found[10], found
    assert found[10] <= 1e-5 * 255
