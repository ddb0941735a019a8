"""What a store tells a network: sizes, units, means, and the law by which its coarse bands follow from fine ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_store import made_recipe, made_store, train_lines

from hpc_sr.errors import ManifestError, RecipeError
from hpc_sr.sentinel2.degrade import degrade, kernel
from hpc_sr.shards.reader import Store
from hpc_sr.shards.schema import read_manifest, write_manifest
from hpc_sr.tasks import REFLECTANCE, S2X, S6X, S26X, Task, Units, task_by_name
from hpc_sr.train.facts import facts_of
from hpc_sr.weights.trained import load_trained


def store_of(folder: Path, task: Task, patch_px: int, **changed: object) -> Store:
    made_store(folder, task, patch_px, rows=8, held_out=2)
    write_manifest(folder, replace(read_manifest(folder), **changed))
    return Store(folder)


@pytest.mark.parametrize(("task", "patch_px"), [(S2X, 16), (S6X, 24), (S26X, 24)], ids=lambda x: getattr(x, "name", x))
@pytest.mark.parametrize("degradation", ["wald", "mtf"])
def test_the_law_is_the_degradation_as_taps(tmp_path: Path, task: Task, patch_px: int, degradation: str) -> None:
    facts = facts_of(store_of(tmp_path, task, patch_px, degradation=degradation), task)
    assert (facts.patch_px, facts.units) == (patch_px, Units.of(REFLECTANCE))
    assert facts.means == {x.name: tuple(2000.0 + 100 * k for k in range(len(x.bands))) for x in task.inputs}
    assert facts.laws.keys() == {target.name for target in task.targets}
    fine = np.random.default_rng(0).random(240)
    for target in task.targets:
        law, scale = facts.laws[target.name], target.scale
        for bands, rows in ((target.bands, law.bands), (task.inputs[0].bands, law.guides)):
            assert len(rows) == len(bands)
            for band, taps in zip(bands, rows, strict=True):
                # A row of pixels, the same in all rows: its degradation, well within the borders, by the taps alone.
                expected = degrade(np.tile(fine, (60, 1))[None], kernel(degradation, scale, (band,), "S2A"))[0, 5]
                beyond = (len(taps) - scale) // 2
                starts = range(0, 240 - scale + 1, scale)
                inside = [s for s in starts if s >= beyond and s + scale + beyond <= 240]
                found = [np.dot(taps, fine[s - beyond : s + scale + beyond]) for s in inside]
                np.testing.assert_allclose(found, expected[[s // scale for s in inside]], rtol=0, atol=1e-6)


def test_pictures_and_stores_of_no_known_degradation_have_no_law(tmp_path: Path) -> None:
    task = task_by_name("sisr_x2")
    facts = facts_of(store_of(tmp_path / "pictures", task, 16), task)
    assert facts.units == Units("8 bit", 255.0) and facts.laws == {} and facts.means.keys() == {"lr"}
    assert facts_of(store_of(tmp_path / "other", S2X, 16, degradation="bicubic"), S2X).laws == {}


def test_a_store_without_statistics_or_of_strange_units_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="has no statistics of 'x10'"):
        facts_of(store_of(tmp_path / "bare", S2X, 16, statistics={}), S2X)
    with pytest.raises(RecipeError, match="unknown units '12 bit'.*\n.*8 bit"):
        facts_of(store_of(tmp_path / "odd", S2X, 16, units="12 bit"), S2X)


def test_a_trained_network_keeps_the_facts_of_its_store(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", S2X, 16)
    train_lines(made_recipe(tmp_path / "run", store.path, {"family": "s2x", "width": 16, "blocks": 1}, 8))
    made = load_trained(tmp_path / "run")
    assert made.card.facts == made.generator.facts == facts_of(store, S2X)
    means = made.generator.mean_x20.flatten() * 2000
    assert means.tolist() == pytest.approx([2000.0 + 100 * k for k in range(6)])


@pytest.mark.parametrize(
    ("stored", "unit", "peak"), [(REFLECTANCE, 2000, 10_000), ("8 bit", 255, 255), ("16 bit", 65535, 65535)]
)
def test_units_are_whole_numbers_to_the_store_and_small_ones_to_the_network(stored, unit, peak) -> None:
    units, values = Units.of(stored), np.array([0.0, 1.0, 100.0, unit])
    np.testing.assert_allclose(units.to_network(values), values / unit)
    np.testing.assert_allclose(units.to_stored(units.to_network(values)), values)
    assert units.peak == peak
    assert Units("", unit).peak == 10_000, "cards of before version 2 do not all tell"
