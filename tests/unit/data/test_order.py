"""The sample stream: a permutation each epoch, one stream for all ranks, resumable anywhere."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hpc_sr.data.order import SampleStream, epoch_order

shards = st.lists(st.integers(1, 700), min_size=1, max_size=6)


@given(rows=shards, seed=st.integers(0, 2**31), epoch=st.integers(0, 50))
@settings(max_examples=50, deadline=None)
def test_every_epoch_is_a_permutation_and_a_function_of_its_arguments(rows: list[int], seed: int, epoch: int) -> None:
    order = epoch_order(rows, seed, epoch)
    assert np.array_equal(np.sort(order), np.arange(sum(rows)))
    assert np.array_equal(order, epoch_order(rows, seed, epoch))


def test_epochs_and_seeds_differ() -> None:
    orders = [epoch_order([500, 500], seed, epoch).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_samples_of_different_shards_mix() -> None:
    order = epoch_order([5000, 5000], seed=0, epoch=0)
    first_half = (order[:2000] < 5000).mean()
    assert 0.4 < first_half < 0.6


@given(rows=shards, start=st.integers(0, 3000), counts=st.lists(st.integers(1, 400), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_the_stream_may_be_taken_in_any_pieces_from_anywhere(rows: list[int], start: int, counts: list[int]) -> None:
    whole = SampleStream(rows, 3).take(start, sum(counts))
    stream, position, parts = SampleStream(rows, 3), start, []
    for count in counts:
        parts.append(stream.take(position, count))
        position += count
    assert np.array_equal(np.concatenate(parts, axis=1), whole)


def test_the_stream_runs_through_whole_epochs() -> None:
    rows = [30, 50]
    indices, codes, _ = SampleStream(rows, 1).take(0, 240)
    for epoch in range(3):
        assert np.array_equal(np.sort(indices[epoch * 80 : epoch * 80 + 80]), np.arange(80))
    assert set(codes) == set(range(8))


def test_every_sample_of_every_epoch_and_seed_has_a_draw_of_its_own() -> None:
    draws = np.concatenate([SampleStream([300, 400], seed).take(0, 2100)[2] for seed in (0, 1)])
    assert draws.dtype == np.int64 and draws.min() >= 0
    assert len(np.unique(draws)) == len(draws)


def test_draws_take_nothing_from_indices_and_codes() -> None:
    """Recorded runs repeat: these numbers are of the time before there were draws."""
    indices, codes, _ = SampleStream([30, 50], 7).take(75, 10)
    assert indices.tolist() == [43, 66, 60, 21, 41, 68, 2, 52, 38, 36]
    assert codes.tolist() == [2, 4, 3, 4, 1, 0, 5, 1, 4, 6]
