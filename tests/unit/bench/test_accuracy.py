"""The benchmark of accuracy: one product held out, the others trained on, noise found under texture, runs kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from support import TinyWorld

from hpc_sr.bench import accuracy
from hpc_sr.errors import RecipeError
from hpc_sr.recipe import load_recipe


@pytest.mark.parametrize("sigma", [2.0, 25.0])
def test_noise_is_found_on_sloping_ground_beside_texture(sigma: float) -> None:
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:240, :240]
    ground = 3.0 * rows + 2.0 * columns
    textured = (rows // 40 + columns // 40) % 2
    ground += textured * (400 * ((rows // 2 + columns // 3) % 2) - 200)
    found = accuracy.noise_of(ground + rng.normal(0, sigma, ground.shape))
    assert 0.7 * sigma < found < 1.05 * sigma  # the quietest tenth of blocks is a little quieter than all
    assert accuracy.noise_of(3.0 * rows + 2.0 * columns) < 1e-6


def test_each_product_is_scored_by_what_the_others_taught(
    tiny: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiles = [path.name.split("_")[5][1:] for path in tiny.products]
    words = [str(tiny.recipe), "schedule.total_samples=16", "prepare.split={}", "--out", str(tmp_path), "--hold-out"]
    monkeypatch.setattr(sys, "argv", ["accuracy", *words, tiles[1]])
    accuracy.main()
    (row,) = json.loads((tmp_path / "accuracy.json").read_text())
    assert row["tile"] == tiles[1] and row["product"] == tiny.products[1].stem and row["noise"] > 0
    assert set(row["rmse"]["synthesis"]) == {"bicubic", "guided", load_recipe(tiny.recipe).task}
    trained_on = json.loads((tmp_path / tiles[1] / "store" / "manifest.json").read_text())["products"]
    assert [line["product"] for line in trained_on if line["split"] == "train"] == [tiny.products[0].stem]
    assert f"| {tiles[1]} | consistency |" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.h5")}
    accuracy.main()
    assert before and before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.h5")}
    with pytest.raises(RecipeError, match="0 products are of tile '01ABC'"):
        accuracy.measure(load_recipe(tiny.recipe), "01ABC", (), tmp_path, None)
