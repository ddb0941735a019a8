"""Batches: the union over ranks is the global stream, layers stay together, symmetries stay co-registered."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from hpc_sr.data.augment import dihedral
from hpc_sr.data.dataset import Patches
from hpc_sr.data.loader import Batch, Loader
from hpc_sr.data.order import SampleStream
from hpc_sr.errors import ShapeError
from hpc_sr.shards.reader import ShardReader
from hpc_sr.shards.writer import ShardWriter

LAYERS = {"x10": {"bands": ["a"], "shape": [1, 4, 4]}, "x20": {"bands": ["b"], "shape": [1, 2, 2]}}
SHAPES = {"x10": (1, 4, 4), "x20": (1, 2, 2)}


@pytest.fixture(params=["contiguous", "compact"])
def patches(tmp_path: Path, request: pytest.FixtureRequest) -> Patches:
    """Three shards whose every value is the sample's index."""
    shards, first = [], 0
    for rows in (7, 20, 14):
        values = np.arange(first, first + rows, dtype=np.int16)
        path = tmp_path / f"{rows}.h5"
        with ShardWriter(path, LAYERS, rows, ("product",), {}, request.param) as writer:
            blocks = {name: np.broadcast_to(values[:, None, None, None], (rows, *s)) for name, s in SHAPES.items()}
            writer.append(blocks, np.zeros((rows, 2), np.int32))
        shards.append(ShardReader(path, rows, LAYERS))
        first += rows
    return Patches(shards, SHAPES)


def batches(patches: Patches, rank: int, world_size: int, size: int, start: int, count: int) -> list[Batch]:
    loader = Loader(patches, rank=rank, world_size=world_size, batch_size_per_rank=size, seed=5)
    with closing(loader.batches(start)) as endless:
        return list(islice(endless, count))


def _drawn(batch: Batch) -> list[tuple[int, int, int]]:
    return list(zip(batch.indices.tolist(), batch.codes.tolist(), batch.draws.tolist(), strict=True))


def test_layers_hold_the_samples_that_the_indices_name(patches: Patches) -> None:
    for batch in batches(patches, 0, 1, 6, 0, 10):
        for values in batch.layers.values():
            assert torch.equal(values[:, 0, 0, 0].long(), batch.indices)


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_the_union_over_ranks_is_the_global_stream(patches: Patches, world_size: int) -> None:
    per_rank = [batches(patches, rank, world_size, 8 // world_size, 0, 12) for rank in range(world_size)]
    stream = SampleStream(patches.rows_per_shard, 5)
    for k, parts in enumerate(zip(*per_rank, strict=True)):
        expected, codes, draws = stream.take(8 * k, 8)
        seen = torch.cat([part.indices for part in parts]).numpy()
        assert np.array_equal(np.sort(seen), np.sort(expected))
        drawn = set(zip(expected.tolist(), codes.tolist(), draws.tolist(), strict=True))
        assert drawn == {sample for part in parts for sample in _drawn(part)}
        for part in parts:
            assert part.samples == 8 * (k + 1)


def test_reading_goes_on_where_it_stopped(patches: Patches) -> None:
    whole = batches(patches, 1, 2, 3, 0, 30)
    resumed = batches(patches, 1, 2, 3, whole[9].samples, 20)
    for a, b in zip(whole[10:], resumed, strict=True):
        assert _drawn(a) == _drawn(b) and a.samples == b.samples


def test_an_error_while_reading_ahead_reaches_the_consumer(patches: Patches) -> None:
    def fail(indices: np.ndarray) -> dict[str, np.ndarray]:
        raise OSError("the disk is gone")

    patches.take = fail
    with pytest.raises(OSError, match="the disk is gone"):
        batches(patches, 0, 1, 4, 0, 1)


def test_dihedral_gives_the_eight_symmetries_and_keeps_layers_together() -> None:
    fine = torch.arange(64.0).reshape(1, 1, 8, 8).repeat(8, 1, 1, 1)
    codes = torch.arange(8)
    turned = dihedral(fine, codes)
    assert len({tuple(image.flatten().tolist()) for image in turned}) == 8
    pooled = torch.nn.functional.avg_pool2d(fine, 2)
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(turned, 2), dihedral(pooled, codes))


def test_parts_of_a_batch_keep_what_belongs_to_their_samples():
    count = torch.arange(6)
    batch = Batch(
        {"x": count[:, None].float(), "y": 2.0 * count[:, None]}, count, count % 8, 10 * count, count + 54, samples=60
    )
    parts = batch.split(3)
    assert len(parts) == 3 and all(part.samples == 60 for part in parts)
    for part in parts:
        assert torch.equal(part.layers["x"][:, 0], part.indices.float())
        assert torch.equal(part.layers["y"][:, 0], 2.0 * part.indices)
        assert torch.equal(part.codes, part.indices % 8) and torch.equal(part.draws, 10 * part.indices)
    assert torch.equal(torch.cat([part.indices for part in parts]), count)


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("parts", [1, 2])
def test_parts_in_the_streams_order_are_the_same_on_any_number_of_ranks(patches, world_size: int, parts: int) -> None:
    per_rank = [batches(patches, rank, world_size, 8 // world_size, 0, 6) for rank in range(world_size)]
    stream = SampleStream(patches.rows_per_shard, 5)
    for k, of_ranks in enumerate(zip(*per_rank, strict=True)):
        expected = np.array_split(np.stack(stream.take(8 * k, 8), 1), parts)
        cut = [batch.in_stream_order().split(parts) for batch in of_ranks]
        for wanted, portions in zip(expected, zip(*cut, strict=True), strict=True):
            drawn = [sample for samples in zip(*map(_drawn, portions), strict=True) for sample in samples]
            assert drawn == [tuple(sample) for sample in wanted.tolist()]
            for values in (portion.layers[name] for portion in portions for name in portion.layers):
                assert values.shape[0] == 8 // world_size // parts
            for portion in portions:
                first = next(iter(portion.layers.values()))
                assert torch.equal(first[:, 0, 0, 0].long(), portion.indices)


@pytest.mark.parametrize("parts", [0, 4, 7])
def test_parts_of_a_batch_are_equal(parts: int) -> None:
    count = torch.arange(6)
    with pytest.raises(ShapeError, match=f"a batch of 6 cannot be split into {parts} equal parts"):
        Batch({"x": count}, count, count, count, count, samples=6).split(parts)
