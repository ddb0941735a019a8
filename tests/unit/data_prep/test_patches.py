"""Cutting patches: aligned, complete, refused for a counted reason; splits by tile."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import statistics
from data_prep.catalog import assign_splits
from data_prep.options import SplitOptions
from data_prep.patches import cut, patch_origins, refuse
from hpc_sr.errors import RecipeError, ShapeError


@given(
    height=st.integers(32, 200), width=st.integers(32, 200), patch=st.integers(1, 5), stride=st.integers(1, 8),
    unit=st.sampled_from([1, 2, 6]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_origins_are_aligned_inside_distinct_and_cover(
    height: int, width: int, patch: int, stride: int, unit: int
) -> None:
    patch_px, stride_px = patch * unit, min(stride, patch) * unit
    origins = patch_origins(height, width, patch_px, stride_px, unit)
    assert (origins % unit == 0).all() and (origins >= 0).all()
    assert (origins + patch_px <= [height, width]).all()
    assert len(np.unique(origins, axis=0)) == len(origins)
    hits = np.zeros((height, width), bool)
    for row, column in origins:
        hits[row : row + patch_px, column : column + patch_px] = True
    assert hits[: height // unit * unit, : width // unit * unit].all()


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="multiples of 6"):
        patch_origins(100, 100, 32, 6, 6)
    with pytest.raises(ShapeError, match="smaller than a patch"):
        patch_origins(20, 100, 32, 32, 2)


def test_patches_are_refused_by_what_they_hold_and_counted_once() -> None:
    nodata, saturated = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    nodata[0, 0] = saturated[1, 1] = saturated[40, 40] = True
    origins = patch_origins(64, 64, 32, 32, 2)
    kept, counts = refuse(origins, 32, {"nodata": nodata, "saturated": saturated})
    assert counts == {"nodata": 1, "saturated": 1}
    assert kept.tolist() == [[0, 32], [32, 0]]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_refusing_agrees_with_looking_at_every_patch(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((50, 70)) < 0.01
    origins = patch_origins(50, 70, 12, 4, 2)
    kept, _ = refuse(origins, 12, {"nodata": mask})
    expected = [o.tolist() for o in origins if not mask[o[0] : o[0] + 12, o[1] : o[1] + 12].any()]
    assert kept.tolist() == expected


def test_layers_of_all_strides_are_cut_over_the_same_ground() -> None:
    fine = np.arange(48 * 60).reshape(1, 48, 60).astype(np.int16)
    coarse = fine[:, ::6, ::6]
    origins = patch_origins(48, 60, 12, 6, 6)
    patches, coarse_patches = cut(fine, origins, 12, 1), cut(coarse, origins, 12, 6)
    assert patches.shape == (len(origins), 1, 12, 12) and coarse_patches.shape == (len(origins), 1, 2, 2)
    assert np.array_equal(patches[:, :, ::6, ::6], coarse_patches)


def test_statistics_merge_and_match_numpy() -> None:
    rng = np.random.default_rng(0)
    whole = rng.integers(-500, 12000, (30, 3, 8, 8)).astype(np.int16)
    merged = statistics.merge([statistics.measure({"x": part}) for part in (whole[:7], whole[7:])])
    result = statistics.finish(merged)["x"]
    assert merged == statistics.measure({"x": whole})
    np.testing.assert_allclose(result["mean"], whole.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(result["std"], whole.std((0, 2, 3)), rtol=1e-9)


TILES = [f"33U{a}{b}" for a in "UVWX" for b in "ABCDE"]


def test_splits_are_by_tile_seeded_and_complete() -> None:
    options = SplitOptions(validation_share=0.2, test_share=0.1, seed=3)
    splits = assign_splits(TILES + TILES, options)
    assert set(splits) == set(TILES)
    assert [list(splits.values()).count(s) for s in ("train", "validation", "test")] == [14, 4, 2]
    assert splits == assign_splits(list(reversed(TILES)), options)
    assert splits != assign_splits(TILES, options.model_copy(update={"seed": 4}))


def test_named_tiles_go_where_they_are_named() -> None:
    splits = assign_splits(TILES, SplitOptions(test=(TILES[0],), validation=(TILES[1],)))
    assert (splits[TILES[0]], splits[TILES[1]], splits[TILES[2]]) == ("test", "validation", "train")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (SplitOptions(test=("32TQM",)), "32TQM has no product"),
        (SplitOptions(validation_share=0.01), "empty"),
        (SplitOptions(validation=tuple(TILES)), "no tile is left"),
    ],
)
def test_splits_that_cannot_be_are_refused(options: SplitOptions, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        assign_splits(TILES, options)
