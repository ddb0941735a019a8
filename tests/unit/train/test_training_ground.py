"""From products to the training ground: its span, and a margin that is what its own tiles teach."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import pytest
from made_store import made_store

from data_prep.looks import measure
from hpc_sr.models.facts import Facts, Span
from hpc_sr.shards.reader import Store
from hpc_sr.shards.schema import read_manifest, write_manifest
from hpc_sr.tasks import PRE6X, S2X, S26X, task_by_name
from hpc_sr.train.facts import facts_of
from hpc_sr.train.looks import looks_of


def line(tile: str, low: float, mean: float, high: float, split: str = "train") -> dict[str, object]:
    told = {"levels": {"B02": [low, mean, high]}, "unexplained": {"B05": [-3.0, -2.0, -1.0]}}
    return {"product": f"{tile}{mean}", "split": split, "patches": 5, "tile": tile, "looks": told}


def test_a_span_is_that_of_all_tiles_and_its_margin_what_they_teach() -> None:
    near, far = line("33UUB", 8.0, 9.0, 10.0), line("32TQM", 9.0, 10.75, 12.0)
    looks = looks_of([near, far, line("19HBV", 1.0, 1.0, 1.0, split="test")])
    assert looks is not None
    assert looks.levels == {"B02": Span(8.0, 12.0, 1.5)}, "32TQM's mean is .75 above all but a twentieth of 33UUB"
    assert looks.unexplained == {"B05": Span(-3.0, -1.0, 0.4)}, "tiles alike: a fifth of what they span"
    again = looks_of([near, line("33UUB", 8.0, 11.5, 11.6), far])
    assert again is not None and again.levels["B02"] == Span(8.0, 12.0, 0.8), "two days of a tile teach nothing"
    span = looks.levels["B02"]
    assert [span.beyond(value) for value in (8.0, 11.0, 12.75, 15.0, 5.0)] == [0.0, 0.0, 0.5, 2.0, 2.0]


def test_one_tile_or_a_product_that_does_not_tell_is_not_enough() -> None:
    near, far = line("33UUB", 8.0, 9.0, 10.0), line("32TQM", 9.0, 11.0, 12.0)
    assert looks_of([near, near]) is None
    assert looks_of([near, far, {**far, "looks": None}]) is None
    assert looks_of([near, {key: value for key, value in far.items() if key != "tile"}]) is None
    assert looks_of([near, far, {**far, "looks": None, "patches": 0}]) is not None


@pytest.mark.parametrize(
    ("task", "patch_px"), [(S2X, 24), (PRE6X, 24), (S26X, 24)], ids=lambda x: getattr(x, "name", x)
)
def test_products_tell_of_targets_as_they_were_measured(tmp_path: Path, task, patch_px: int) -> None:
    made_store(tmp_path, task, patch_px, rows=8, held_out=2)
    with h5py.File(tmp_path / "shards" / "train.h5") as shard:
        patches = {layer.name: shard[layer.name][:] for layer in task.layers}
    told = measure(patches, task)
    assert told is not None
    truths = [target for target in task.targets if target.gsd_m == task.grid_gsd_m]
    assert list(told["unexplained"]) == [band for target in truths for band in target.bands]
    assert list(told["levels"]) == [*task.inputs[0].bands, *told["unexplained"]]
    assert all(low <= mean <= high for seen in told.values() for low, mean, high in seen.values())
    assert measure(patches, task_by_name("sisr_x2")) is None


def test_facts_keep_it_and_cards_of_before_do_not_have_it(tmp_path: Path) -> None:
    made_store(tmp_path, S2X, 16, rows=8, held_out=2)
    lines = (line("33UUB", 8.0, 9.0, 10.0), line("32TQM", 9.0, 10.75, 12.0))
    write_manifest(tmp_path, replace(read_manifest(tmp_path), products=lines))
    facts = facts_of(Store(tmp_path), S2X)
    assert facts.looks == looks_of(lines) and Facts.from_json(facts.as_json()) == facts
    before = {key: value for key, value in facts.as_json().items() if key != "looks"}
    assert Facts.from_json(before) == replace(facts, looks=None)
