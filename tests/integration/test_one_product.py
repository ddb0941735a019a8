"""One product is enough: trained on, chosen by and scored on blocks of it, and every result says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support import TinyWorld, run_cli

from hpc_sr.evaluate.protocols.blocks import areas_of, on_areas
from hpc_sr.evaluate.protocols.scenes import Scene
from hpc_sr.markdown import as_text
from hpc_sr.sentinel2.safe import open_product
from hpc_sr.shards.reader import Store


@pytest.fixture(scope="module")
def folder(tiny: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one product of 120 x 120 px at 20 m in nine blocks, and a run of it, `run`."""
    folder = tmp_path_factory.mktemp("one")
    recipe = [f"prepare.products=[{tiny.products[0]}]", f"store={folder / 'store'}", f"train.runs={folder}"]
    recipe += ["prepare.split={by: block, block_px: 40, margin_px: 2, validation_share: 0.1, test_share: 0.2, seed: 3}"]
    assert not run_cli("prepare", tiny.recipe, *recipe)
    assert not run_cli("train", tiny.recipe, *recipe, "name=run", "schedule.total_samples=32")
    return folder


def _scenes(run: Path, protocol: str) -> list[dict]:
    return json.loads((run / "evaluate" / f"{protocol}.json").read_text())["scenes"]


def test_whole_products_are_scored_on_their_held_out_blocks(
    folder: Path, tiny: TinyWorld, capsys: pytest.CaptureFixture
) -> None:
    run = folder / "run"
    assert not run_cli("evaluate", run, "--protocol", "both")
    told = " ".join(capsys.readouterr().out.split())
    assert "on held-out blocks of a tile that was trained on" in told and "easier than unseen ground" in told
    name = open_product(tiny.products[0]).name
    for protocol in ("synthesis", "consistency"):
        (scene,) = _scenes(run, protocol)
        assert (scene["scene"], scene["blocks"]) == (name, 2)
        assert {scores["pixels"] for scores in scene["methods"].values()} == {2 * 40 * 40}
        assert f"2 held out of {as_text(name)}" in (run / "evaluate" / f"{protocol}.md").read_text()
    before = _scenes(run, "synthesis")
    assert not run_cli("evaluate", run, "--product", tiny.products[0])
    assert _scenes(run, "synthesis") == before, "a product that was trained on is scored as a whole"
    assert "Seen in training" not in capsys.readouterr().out
    assert not run_cli("report", run)
    assert "easier than unseen ground" in (run / "report.html").read_text()


def test_products_of_other_ground_are_scored_whole(folder: Path, tiny: TinyWorld) -> None:
    assert not run_cli("evaluate", folder / "run", "--product", *tiny.products)
    by_name = {scene["scene"]: scene for scene in _scenes(folder / "run", "synthesis")}
    mine, other = (by_name[open_product(path).name] for path in tiny.products)
    assert mine["blocks"] == 2 and "blocks" not in other
    assert {scores["pixels"] for scores in other["methods"].values()} == {120 * 120}


def test_patches_of_a_store_say_that_they_are_of_blocks(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert not run_cli("evaluate", folder / "run", "--store", folder / "store")
    (scene,) = _scenes(folder / "run", "synthesis")
    assert scene["blocks"] == 2 and scene["patches"] == Store(folder / "store").manifest.rows("test")
    assert "easier than unseen ground" in " ".join(capsys.readouterr().out.split())
    assert not run_cli("inspect", folder / "store")
    told = capsys.readouterr().out
    assert "1 held-out blocks: easier than unseen ground" in told and "2 held-out blocks" in told
    (folder / "store" / "manifest.json").rename(tmp_path / "manifest.json")
    try:
        run_cli("evaluate", folder / "run", "--product", next((folder.parent).glob("tiny*/*T33UUB*.SAFE")))
        assert "nobody knows which ground" in " ".join(capsys.readouterr().err.split())
    finally:
        (tmp_path / "manifest.json").rename(folder / "store" / "manifest.json")


def test_a_scene_on_areas_counts_their_pixels_and_no_other(folder: Path, tiny: TinyWorld) -> None:
    import torch

    from hpc_sr.infer.windows import Area

    blocks = next(iter(Store(folder / "store").manifest.blocks("test").values()))
    product = open_product(tiny.products[0])
    whole = Scene(
        "s", {}, 120, 120, lambda area: (torch.zeros(1), torch.ones(area.height, area.width) > 0), {}, None, {}
    )
    for gsd_m in (10, 20, 60):
        size = 2400 // gsd_m
        areas = areas_of(blocks, product.grids[gsd_m])
        assert all(
            (area.height * gsd_m, area.width * gsd_m) == (800 // gsd_m * gsd_m,) * 2 or gsd_m == 60 for area in areas
        )
        expected = np.zeros((size, size), bool)
        for area in areas:
            expected[area.slices] = True
        scene = on_areas(whole, areas)
        for window in (Area(0, 0, size, size), Area(3, 5, size // 2, size // 3)):
            np.testing.assert_array_equal(scene.reference(window)[1].numpy(), expected[window.slices])
