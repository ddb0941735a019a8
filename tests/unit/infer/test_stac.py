"""The STAC item: what it says of the image is so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from array_images import ArrayImage, repeating

from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.plan import make_plan
from hpc_sr.infer.stac import stac_item
from hpc_sr.tasks import S2X


@pytest.mark.parametrize(
    ("options", "title"),
    [
        (InferOptions(bands="all"), "Measured and sharpened bands at 10 m"),
        (InferOptions(bands="sharpened"), "Sharpened bands at 10 m"),
        (InferOptions(bands="sharpened", ensemble=True, spread=True), "Sharpened bands at 10 m with their spread"),
    ],
)
def test_the_title_tells_which_bands_are_there(options: InferOptions, title: str) -> None:
    plan = make_plan([repeating(S2X)], ArrayImage(60, 72), options)
    image = json.loads(stac_item(plan, Path("x.tif")))["assets"]["image"]
    assert image["title"] == title
    assert [band["name"] for band in image["eo:bands"]] == [band.name for band in plan.bands]
