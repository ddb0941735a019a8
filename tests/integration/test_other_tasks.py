"""The same way for the 60 m bands, for all coarse bands in one pass, for L2A, and for the baseline network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from support import run_cli

from data_prep.synthetic import landscape, write_product
from hpc_sr.sentinel2.degrade import degrade, kernel, support_px
from hpc_sr.sentinel2.safe import BandReader, open_product
from hpc_sr.tasks import BANDS_20M, BANDS_60M

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
#: The bands of each target, by what its evaluations have after the protocol's name.
SR_BANDS = {"s2x": {"": BANDS_20M}, "s6x": {"": BANDS_60M}, "s26x": {"_target20": BANDS_20M, "_target60": BANDS_60M}}


@pytest.mark.parametrize(
    ("task", "family", "level", "degradation", "patch_px"),
    [("s6x", "s2x", "L1C", "mtf", 12), ("s2x", "dsen2", "L2A", "mtf", 16), ("s26x", "s2x", "L1C", "wald", 12)],
)
def test_from_product_to_geotiff(
    tmp_path: Path, task: str, family: str, level: str, degradation: str, patch_px: int
) -> None:
    product = write_product(tmp_path, landscape(540, 4), level=level, tile="33UUB")
    values = {"task": task, "family": family, "degradation": degradation, "patch_px": patch_px, "folder": tmp_path}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(**values))
    run, out, scores = tmp_path / "runs" / "run", tmp_path / "sr.tif", tmp_path / "scores.json"
    projected = tmp_path / "projected.tif"
    commands = (
        ["prepare", recipe],
        ["train", recipe],
        ["evaluate", run, "--product", product, "--protocol", "both", "--json", scores],
        ["infer", run, product, "--out", out],
        ["infer", run, product, "--out", projected, "--back-project", "--dtype", "float32", "--precision", "fp32"],
        ["report", run],
    )
    for command in commands:
        assert not run_cli(*command)
    found = json.loads(scores.read_text())
    name = task if family == "s2x" else family
    page = (run / "report.html").read_text()
    assert set(found) == {f"{protocol}{t}" for protocol in ("synthesis", "consistency") for t in SR_BANDS[task]}
    for target, bands in SR_BANDS[task].items():
        for protocol in ("synthesis", "consistency"):
            evaluation = found[f"{protocol}{target}"]
            assert evaluation == json.loads((run / "evaluate" / f"{protocol}{target}.json").read_text())
            assert set(evaluation["mean"]) == {"bicubic", name}
            assert tuple(evaluation["mean"][name]["bands"]) == tuple(evaluation["bands"]) == bands
            assert (evaluation["degradation"], evaluation["level"]) == (degradation, level)
            assert evaluation["scale"] == (2 if bands == BANDS_20M else 6)
            assert f'<section id="{protocol}{target}">' in page
    every = {band for bands in SR_BANDS[task].values() for band in bands}
    with rasterio.open(out) as tif:
        assert set(tif.descriptions) == every | {"B02", "B03", "B04", "B08"}
        assert (tif.height, tif.width) == (540, 540)
        assert tif.tags()["degradation"] == degradation
    for bands in SR_BANDS[task].values():
        assert_consistent(projected, product, bands, degradation)


def assert_consistent(out: Path, product: Path, bands: tuple[str, ...], degradation: str) -> None:
    """The image, degraded again, is what was measured, as far as float32 goes from one window to the next."""
    opened, scale = open_product(product), 2 if bands == BANDS_20M else 6
    law = kernel(degradation, scale, bands, opened.satellite)
    beyond = -(-support_px(law) // scale)
    inner = (..., slice(beyond, -beyond or None), slice(beyond, -beyond or None))
    with rasterio.open(out) as tif, BandReader(opened) as reader:
        fine = np.stack([tif.read(tif.descriptions.index(name) + 1) for name in bands])
        measured = np.stack([reader.reflectance(name)[0] for name in bands])
    np.testing.assert_allclose(degrade(fine.astype(float), law)[inner], measured[inner], rtol=0, atol=2e-5)
