"""The STAC item: what it says of the image is so."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pystac
import pytest
from array_images import ArrayImage, both_repeating, repeating

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.plan import make_plan
from hpc_sr.infer.stac import stac_item
from hpc_sr.infer.super_resolve import super_resolve
from hpc_sr.sentinel2.metadata import Grid
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


@pytest.mark.parametrize(
    ("crs", "left", "top"), [("EPSG:32701", 177_420, 8_200_000), ("EPSG:32660", 819_600, 1_800_000)]
)
def test_an_image_across_180_degrees_has_its_item(tmp_path: Path, crs: str, left: float, top: float) -> None:
    image = ArrayImage(240, 240)
    image.grids = {gsd: Grid(gsd, g.height, g.width, left, top, crs) for gsd, g in image.grids.items()}
    made = super_resolve(both_repeating(), image, tmp_path / "x.tif", InferOptions(), SerialComm())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.tif"]
    item = pystac.Item.from_file(made.path.with_suffix(".json"))
    assert item.geometry is not None and item.bbox is not None
    assert item.geometry["type"] == "MultiPolygon" and len(item.geometry["coordinates"]) == 2
    west, _, east, _ = item.bbox
    assert 179.9 < west <= 180 and -180 <= east < -179.9
    for ((ring,),) in zip(item.geometry["coordinates"], strict=True):
        longitudes = [x for x, _ in ring]
        assert max(longitudes) == 180 or min(longitudes) == -180
        assert max(longitudes) - min(longitudes) < 0.1


@pytest.mark.parametrize(
    ("crs", "pixel", "gsd"), [("EPSG:4326", 1e-4, None), ("EPSG:32632", 10.0, 10.0), ("EPSG:2225", 33.0, 10.0584)]
)
def test_the_size_of_a_pixel_is_in_metres_or_not_told(crs: str, pixel: float, gsd: float | None) -> None:
    image = ArrayImage(60, 72)
    sizes = {nominal: nominal / 10 * pixel for nominal in image.grids}
    image.grids = {k: Grid(sizes[k], g.height, g.width, 12.0, 43.0, crs) for k, g in image.grids.items()}
    item = json.loads(stac_item(make_plan([repeating(S2X)], image, InferOptions()), Path("x.tif")))
    (asset,) = item["assets"].values()
    told = [item["properties"].get("gsd"), *(band.get("spatial_resolution") for band in asset["raster:bands"])]
    assert told == [gsd if gsd is None else pytest.approx(gsd, rel=1e-4)] * len(told)
    assert ("at" in asset["title"].split()) == (gsd is not None)


def test_what_a_killed_process_left_of_an_item_goes(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / f".x.json.{socket.gethostname()}-{ended.pid}.partial"
    left.touch()
    super_resolve([repeating(S2X)], ArrayImage(24, 24), tmp_path / "x.tif", InferOptions(), SerialComm())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.tif"]
