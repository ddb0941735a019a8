"""The same way for the 60 m bands, for L2A, and for the baseline network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import rasterio
from support import run_cli

from data_prep.synthetic import landscape, write_product

RECIPE = """
name: run
task: {task}
store: {folder}/store
prepare: {{products: ["{folder}/*.SAFE"], degradation: {degradation}, patch_px: {patch_px}, stride_px: {patch_px}}}
model: {{family: {family}, width: 16, blocks: 1}}
objective: {{content: charbonnier}}
schedule: {{total_samples: 32, decay: cosine}}
train: {{batch_size_per_rank: 8, runs: "{folder}/runs"}}
"""
SR_BANDS = {"s2x": {"B05", "B06", "B07", "B8A", "B11", "B12"}, "s6x": {"B01", "B09"}}


@pytest.mark.parametrize(
    ("task", "family", "level", "degradation", "patch_px"),
    [("s6x", "s2x", "L1C", "mtf", 12), ("s6x", "dsen2", "L2A", "wald", 12), ("s2x", "dsen2", "L2A", "mtf", 16)],
)
def test_from_product_to_geotiff(
    tmp_path: Path, task: str, family: str, level: str, degradation: str, patch_px: int
) -> None:
    product = write_product(tmp_path, landscape(540, 4), level=level, tile="33UUB")
    values = {"task": task, "family": family, "degradation": degradation, "patch_px": patch_px, "folder": tmp_path}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(**values))
    run, out, scores = tmp_path / "runs" / "run", tmp_path / "sr.tif", tmp_path / "scores.json"
    commands = (
        ["prepare", recipe],
        ["train", recipe],
        ["evaluate", run, "--product", product, "--protocol", "both", "--json", scores],
        ["infer", run, product, "--out", out],
        ["report", run],
    )
    for command in commands:
        assert not run_cli(*command)
    both = json.loads(scores.read_text())
    name = "s6x" if (task, family) == ("s6x", "s2x") else family
    for protocol in ("synthesis", "consistency"):
        assert set(both[protocol]["mean"]) == {"bicubic", name}
        assert set(both[protocol]["mean"][name]["bands"]) == SR_BANDS[task]
        assert (both[protocol]["degradation"], both[protocol]["level"]) == (degradation, level)
    with rasterio.open(out) as tif:
        assert set(tif.descriptions) == SR_BANDS[task] | {"B02", "B03", "B04", "B08"}
        assert (tif.height, tif.width) == (540, 540)
        assert tif.tags()["degradation"] == degradation
