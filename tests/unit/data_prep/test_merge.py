"""Merged stores hold the patches of all; what must not meet is refused by name."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from fake_sources import FakeSource, patches_of, run, sources, tree

from data_prep.merge import merge
from hpc_sr.errors import DegradationError, HpcSrError, LeakageError, ManifestError, MixedLevelsError, StoreError
from hpc_sr.shards.reader import Store
from hpc_sr.shards.schema import read_manifest, write_manifest

ELSEWHERE = [FakeSource("far_1", "31UDA"), FakeSource("far_2", "31UDB", 56), FakeSource("far_3", "31UDC")]
SPLIT = {"validation": ["31UDC"]}


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    run(monkeypatch, tmp_path / "a", sources())
    run(monkeypatch, tmp_path / "b", ELSEWHERE, split=SPLIT)
    return [tmp_path / "a", tmp_path / "b"]


def test_a_merged_store_holds_what_the_others_hold(
    monkeypatch: pytest.MonkeyPatch, pair: list[Path], tmp_path: Path
) -> None:
    manifest = merge(tmp_path / "out", pair)
    for split in ("train", "validation", "test"):
        assert patches_of(tmp_path / "out", split) == patches_of(pair[0], split) | patches_of(pair[1], split)
    split = {"validation": ["31UDC", "32TQM"], "test": ["32TQN"]}
    run(monkeypatch, tmp_path / "once", [*sources(), *ELSEWHERE], split=split)
    once = Store(tmp_path / "once").manifest
    assert (manifest.statistics, manifest.sums, manifest.products) == (once.statistics, once.sums, once.products)
    Store(tmp_path / "out").verify()
    file = manifest.splits["test"][0].file
    assert os.stat(tmp_path / "out" / file).st_ino == os.stat(pair[0] / file).st_ino


def test_across_file_systems_shards_are_copied(
    monkeypatch: pytest.MonkeyPatch, pair: list[Path], tmp_path: Path
) -> None:
    def link(*args: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", link)
    merge(tmp_path / "out", pair)
    Store(tmp_path / "out").verify()


def _with(**changes: object):
    def change(store: Path) -> None:
        write_manifest(store, replace(read_manifest(store), **changes))

    return change


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (_with(degradation="mtf"), DegradationError, "'mtf'.*'wald'"),
        (_with(level="L2A"), MixedLevelsError, "'L2A'.*'L1C'"),
        (_with(task="s6x"), StoreError, "'s6x'.*'s2x'"),
        (_with(patch_px=16), StoreError, "patch_px 16.* 8"),
        (_with(units="8 bit"), StoreError, "'8 bit'.*'reflectance x 10000'"),
        (_with(layout="compact"), StoreError, "'compact'.*'contiguous'"),
        (_with(layers={}, statistics={}, sums={}), StoreError, "layers"),
        (_with(products=({"product": "tested", "tile": "32TQN", "split": "test"},)), StoreError, "tested"),
        (_with(products=({"product": "x", "tile": "33UUA", "split": "test"},)), LeakageError, "33UUA is held out here"),
        (_with(products=({"product": "x", "tile": "32TQM", "split": "train"},)), LeakageError, "32TQM is trained on"),
        (lambda store: (store / "shards" / "far_3.h5").unlink(), ManifestError, "far_3.h5.*missing"),
        (lambda store: (store / "manifest.json").unlink(), ManifestError, "manifest.json"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(
    pair: list[Path], tmp_path: Path, change, error: type[HpcSrError], told: str
) -> None:
    change(pair[1])
    with pytest.raises(error, match=told):
        merge(tmp_path / "out", pair)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_what_is_there_is_not_overwritten(monkeypatch: pytest.MonkeyPatch, pair: list[Path], tmp_path: Path) -> None:
    before = tree(pair[0])
    with pytest.raises(StoreError, match="is there already"):
        merge(pair[0], pair)
    assert tree(pair[0]) == before
    with pytest.raises(StoreError, match="too few"):
        merge(tmp_path / "out", pair[:1])
    merge(tmp_path / "out", pair)
    with pytest.raises(StoreError, match="was merged"):
        run(monkeypatch, tmp_path / "out", sources())
