"""Cutting patches: aligned, complete, refused for a counted reason; their statistics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import statistics
from data_prep.patches import cut, patch_origins, refuse
from hpc_sr.errors import ShapeError


@given(
    height=st.integers(32, 200),
    width=st.integers(32, 200),
    patch=st.integers(1, 5),
    stride=st.integers(1, 8),
    unit=st.sampled_from([1, 2, 6]),
)
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
    limits = {"nodata": 0.0, "saturated": 0.0, "cloud": 0.1}
    kept, refused = refuse(origins, 32, {"saturated": saturated, "nodata": nodata}, limits)
    found = {reason: where.tolist() for reason, where in refused.items()}
    assert found == {"nodata": [[0, 0]], "saturated": [[32, 32]], "cloud": []}
    assert kept.tolist() == [[0, 32], [32, 0]]


def test_a_limit_is_the_largest_share_that_passes() -> None:
    origins = np.array([[0, 0]])
    for limit, marked in ((0.1, 10), (0.29, 29), (0.07, 7), (0.0, 0), (1.0, 100)):
        for more in (0, 1):
            mask = np.zeros(100, bool)
            mask[: marked + more] = True
            kept, _ = refuse(origins, 10, {"cloud": mask.reshape(10, 10)}, {"cloud": limit})
            assert len(kept) == (1 if more == 0 or limit == 1 else 0), (limit, marked + more)


def test_reasons_without_a_limit_allow_nothing() -> None:
    mask = np.zeros((64, 64), bool)
    mask[5, 5] = True
    kept, refused = refuse(patch_origins(64, 64, 32, 32, 2), 32, {"held_out": mask}, {"cloud": 1.0})
    assert len(kept) == 3 and refused["held_out"].tolist() == [[0, 0]] and list(refused) == ["cloud", "held_out"]


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.05))
@settings(max_examples=20, deadline=None)
def test_refusing_agrees_with_looking_at_every_patch(seed: int, limit: float) -> None:
    rng = np.random.default_rng(seed)
    marks = {reason: rng.random((50, 70)) < 0.02 for reason in ("cloud", "snow")}
    origins = patch_origins(50, 70, 12, 4, 2)
    kept, refused = refuse(origins, 12, marks, {"cloud": limit, "snow": 2 * limit})
    expected: dict[str, list] = {"kept": [], "cloud": [], "snow": []}
    for row, column in origins.tolist():
        share = {reason: mask[row : row + 12, column : column + 12].mean() for reason, mask in marks.items()}
        why = "cloud" if share["cloud"] > limit else "snow" if share["snow"] > 2 * limit else "kept"
        expected[why].append([row, column])
    assert {"kept": kept.tolist()} | {reason: where.tolist() for reason, where in refused.items()} == expected


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


@given(
    shape=st.tuples(st.integers(0, 5), st.integers(1, 3), st.integers(1, 150), st.integers(1, 150)),
    value=st.sampled_from([-32768, -1, 32767]),
)
@settings(max_examples=30, deadline=None)
def test_sums_are_exact(shape: tuple[int, ...], value: int) -> None:
    values = np.full(shape, value, np.int16)
    values[..., 0, 0] -= 1 if value > 0 else -1
    for array in (values, values.swapaxes(0, 1).copy().swapaxes(0, 1)):
        (sums,) = statistics.measure({"x": array}).values()
        wide = values.astype(object)
        assert sums["count"] == shape[0] * shape[2] * shape[3]
        assert sums["sum"] == [int(wide[:, c].sum()) for c in range(shape[1])]
        assert sums["sum_of_squares"] == [int((wide[:, c] ** 2).sum()) for c in range(shape[1])]
