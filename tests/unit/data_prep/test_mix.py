"""Mixing loses and doubles no patch, spreads each product over all shards, and keeps earlier generations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_sources import DECODED, patches_of, run, sources, tree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import data_prep.mix as mixing
from hpc_sr.shards.reader import Store


@given(shard_rows=st.integers(1, 90), count=st.integers(1, 5))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_patch_is_in_one_shard_and_shards_are_even(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, shard_rows: int, count: int
) -> None:
    folder = tmp_path_factory.mktemp("mix")
    run(monkeypatch, folder / "mixed", sources(count), shard_rows=shard_rows)
    run(monkeypatch, folder / "apart", sources(count), shuffle=False)
    assert patches_of(folder / "mixed") == patches_of(folder / "apart")
    entries = Store(folder / "mixed").manifest.splits["train"]
    rows = [entry.rows for entry in entries]
    assert max(rows) <= shard_rows and max(rows) - min(rows) <= 1
    fewest = min(len([k for k in patches_of(folder / "apart") if k[0] == f"product_{p}"]) for p in range(count))
    if fewest >= len(entries):
        assert all(len(entry.products) == count for entry in entries)


def test_each_product_is_spread_evenly_and_rows_are_shuffled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run(monkeypatch, tmp_path, sources())
    shards = Store(tmp_path).split("train")
    counts = np.array([[(shard.products() == f"product_{k}").sum() for k in range(4)] for shard in shards])
    assert len(shards) > 2 and (np.ptp(counts, axis=0) <= 1).all()
    for shard in shards:
        names = shard.products().tolist()
        assert names != sorted(names)


def test_blocks_bound_memory_and_change_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run(monkeypatch, tmp_path / "whole", sources())
    monkeypatch.setattr(mixing, "_BLOCK_BYTES", 7000)
    run(monkeypatch, tmp_path / "blocks", sources())
    assert tree(tmp_path / "whole") == tree(tmp_path / "blocks")


def test_layouts_hold_the_same_patches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for layout in ("contiguous", "compact"):
        run(monkeypatch, tmp_path / layout, sources(), layout=layout)
    assert patches_of(tmp_path / "compact") == patches_of(tmp_path / "contiguous")


@pytest.mark.parametrize("ranks", [1, 3])
def test_appending_keeps_earlier_generations_as_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ranks: int
) -> None:
    run(monkeypatch, tmp_path / "once", sources(5))
    before: dict[str, bytes] = {}
    for count in (1, 3, 5):
        DECODED.clear()
        run(monkeypatch, tmp_path / "grown", sources(count), ranks)
        after = tree(tmp_path / "grown")
        assert {k: v for k, v in before.items() if k != "manifest.json"}.items() <= after.items()
        assert set(DECODED) <= {"validated", "tested", *(f"product_{k}" for k in range(max(0, count - 2), 5))}
        before = after
    assert len(list((tmp_path / "grown" / "generations").iterdir())) == 3
    assert patches_of(tmp_path / "grown") == patches_of(tmp_path / "once")
    grown, once = Store(tmp_path / "grown").manifest, Store(tmp_path / "once").manifest
    assert grown.statistics == once.statistics and grown.products == once.products


def test_a_generation_that_lost_a_member_is_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run(monkeypatch, tmp_path / "store", sources(2))
    run(monkeypatch, tmp_path / "store", sources(4))
    changed = [replace(s, state="new") if s.name == "product_3" else s for s in sources(4)]
    DECODED.clear()
    run(monkeypatch, tmp_path / "store", changed)
    assert set(DECODED) == {"product_2", "product_3"}, "the first generation stays"
    run(monkeypatch, tmp_path / "store", [s for s in changed if s.name != "product_0"], allow_removal=True)
    run(monkeypatch, tmp_path / "fresh", [s for s in changed if s.name != "product_0"])
    assert patches_of(tmp_path / "store") == patches_of(tmp_path / "fresh")
    assert not (tmp_path / "store" / "records" / "product_0.json").exists()
    Store(tmp_path / "store").verify()
