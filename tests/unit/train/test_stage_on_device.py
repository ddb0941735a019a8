"""train.stage=device: the batches of the loader to the bit, and a warning where the device has no room for them."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_store import made_recipe, made_store, train_lines

from hpc_sr.bench.noise import patches_of_noise
from hpc_sr.data import on_device
from hpc_sr.data.dataset import Patches
from hpc_sr.data.loader import Batch, Loader
from hpc_sr.data.on_device import PatchesOnDevice, held_on
from hpc_sr.tasks import S2X, Units

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Patches:
    return patches_of_noise(tmp_path_factory.mktemp("noise"), S2X, 8, 60)


def batches(patches: Patches | PatchesOnDevice, size: int, ranks: int, rank: int, start: int, seed: int) -> list[Batch]:
    loader = Loader(patches, rank=rank, world_size=ranks, batch_size_per_rank=size, seed=seed)
    with closing(loader.batches(start)) as endless:
        return list(islice(endless, 4))


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 4).flatmap(lambda ranks: st.tuples(st.just(ranks), st.integers(0, ranks - 1))),
    st.integers(0, 300),
    st.integers(0, 99),
)
def test_batches_are_those_of_the_store_to_the_bit(patches, size: int, ranks: tuple[int, int], start: int, seed: int):
    held, units = PatchesOnDevice(patches, CPU), Units.of("16 bit")
    for wanted, found in zip(
        batches(patches, size, *ranks, start, seed), batches(held, size, *ranks, start, seed), strict=True
    ):
        for name in ("indices", "codes", "draws", "places"):
            assert torch.equal(getattr(found, name), getattr(wanted, name))
        assert found.samples == wanted.samples and found.layers.keys() == wanted.layers.keys()
        seen, expected = (batch.in_network_units(units, augment=True).layers for batch in (found, wanted))
        for name, values in wanted.layers.items():
            assert found.layers[name].dtype == torch.int16 and torch.equal(found.layers[name], values)
            assert torch.equal(seen[name], expected[name])


def test_patches_come_in_more_than_one_block(patches, monkeypatch) -> None:
    monkeypatch.setattr(on_device, "_BLOCK_ROWS", 7)
    (wanted, *_), (found, *_) = (batches(held, 60, 1, 0, 0, 0) for held in (patches, PatchesOnDevice(patches, CPU)))
    assert all(torch.equal(found.layers[name], values) for name, values in wanted.layers.items())


@pytest.mark.parametrize(("free_bytes", "fits"), [(2 * 60 * 1472, True), (2 * 60 * 1472 - 1, False)])
def test_half_of_the_free_memory_is_left_to_training(patches, monkeypatch, caplog, free_bytes: int, fits: bool) -> None:
    monkeypatch.setattr(on_device, "available_memory_bytes", lambda: free_bytes)
    with caplog.at_level("WARNING", logger="hpc_sr"):
        held = held_on(CPU, patches)
    assert isinstance(held, PatchesOnDevice) == fits and (held is patches) != fits
    assert ("train.stage=device: the patches stay where they are" in caplog.text) != fits


def test_a_run_learns_the_same_and_can_go_on_without(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", S2X, 16, rows=24, held_out=4)
    model = {"family": "s2x", "width": 16, "blocks": 1}
    runs = {}
    for name, stages in {"store": (None, None), "device": ("device", "device"), "both": ("device", None)}.items():
        for samples, stage in zip((24, 64), stages, strict=True):
            recipe = made_recipe(tmp_path / name, store, model, samples, train={"stage": stage})
            runs[name] = [line["loss"] for line in train_lines(recipe)]
    assert len(runs["store"]) == 8 and runs["device"] == runs["store"] and runs["both"] == runs["store"]
