"""The STAC item: what it says of the image is so."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pystac
import pytest
import rasterio
from array_images import KINDS_ARE_KNOWN, ArrayImage, both_repeating, repeating
from pystac.extensions.projection import ProjectionExtension
from rasterio.crs import CRS

from hpc_sr import __version__
from hpc_sr.comm.communicator import SerialComm
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.plan import make_plan
from hpc_sr.infer.region import parse_region
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
    assert [band["name"] for band in image["bands"]] == [band.name for band in plan.bands]


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_pystac_finds_in_the_item_what_the_image_holds(tmp_path: Path, dtype: str) -> None:
    made = super_resolve(
        both_repeating(), ArrayImage(60, 72), tmp_path / "x.tif", InferOptions(dtype=dtype), SerialComm()
    )
    item = pystac.Item.from_file(made.path.with_suffix(".json"))
    assert json.loads(made.path.with_suffix(".json").read_text())["stac_version"] == "1.1.0"
    with rasterio.open(made.path) as tif:
        projection = ProjectionExtension.ext(item)
        assert (projection.code, projection.shape) == (f"EPSG:{tif.crs.to_epsg()}", list(tif.shape))
        assert projection.transform == list(tif.transform)[:6]
        told = item.assets["image"].extra_fields["bands"]
        assert [band["name"] for band in told] == list(tif.descriptions)
        for key, held in (("raster:scale", tif.scales), ("raster:offset", tif.offsets), ("data_type", tif.dtypes)):
            assert [band[key] for band in told] == list(held)
        assert {band["nodata"] for band in told} == {"nan" if dtype == "float32" else tif.nodata}
        for number, band in enumerate(told if KINDS_ARE_KNOWN else (), 1):
            wavelengths = tif.tags(number, ns="IMAGERY")
            assert float(wavelengths["CENTRAL_WAVELENGTH_UM"]) == band["eo:center_wavelength"]
            assert float(wavelengths["FWHM_UM"]) == band["eo:full_width_half_max"]
    names = {band["name"]: band["eo:common_name"] for band in told}
    assert len(set(names.values())) == len(names) and names["B04"] == "red" and names["B05"] == "rededge071"
    (source,) = item.get_links(pystac.RelType.DERIVED_FROM)
    assert source.title == "noise.SAFE"
    properties = item.properties
    assert properties["processing:software"] == {"hpc_sr": __version__} and properties["processing:level"] == "L4"
    assert "dsen2" in properties["processing:lineage"] and "B12" in properties["processing:lineage"]
    (thumbnail,) = item.get_assets(role="thumbnail").values()
    assert thumbnail.title == "True colour: B04, B03, B02"
    with rasterio.open(thumbnail.get_absolute_href()) as picture:
        assert picture.driver == "PNG" and picture.count == 4
    extensions, item.stac_extensions = item.stac_extensions, []  # their schemas are on the web
    assert item.validate()
    used = {key.split(":")[0] for key in (*item.properties, *told[0]) if ":" in key} - {"hpc_sr", "proj"}
    assert {uri.split("/")[3] for uri in extensions} == used | {"projection"}


def test_no_two_items_share_a_name() -> None:
    def named(height: int = 60, models: int = 2, **options: object) -> str:
        plan = make_plan(both_repeating()[:models], ArrayImage(height, 72), InferOptions(**options))
        return json.loads(stac_item(plan, Path("x.tif")))["id"]

    part = parse_region("pixels", "0,0,12,12", "--region-px")
    names = [named(), named(models=1), named(height=120), named(dtype="float32"), named(region=part)]
    assert len(set(names)) == len(names) and all(name.startswith("noise-") for name in names)
    assert named() == names[0]


def test_a_system_without_a_code_is_spelled_out() -> None:
    image = ArrayImage(60, 72)
    crs = "+proj=laea +lat_0=45 +lon_0=9 +datum=WGS84 +units=m"
    image.grids = {gsd: Grid(gsd, g.height, g.width, 0.0, 0.0, crs) for gsd, g in image.grids.items()}
    told = json.loads(stac_item(make_plan(both_repeating(), image, InferOptions()), Path("x.tif")))["properties"]
    assert told["proj:code"] is None and CRS.from_wkt(told["proj:wkt2"]) == CRS.from_string(crs)


@pytest.mark.parametrize(
    ("crs", "left", "top"), [("EPSG:32701", 177_420, 8_200_000), ("EPSG:32660", 819_600, 1_800_000)]
)
def test_an_image_across_180_degrees_has_its_item(tmp_path: Path, crs: str, left: float, top: float) -> None:
    image = ArrayImage(240, 240)
    image.grids = {gsd: Grid(gsd, g.height, g.width, left, top, crs) for gsd, g in image.grids.items()}
    made = super_resolve(both_repeating(), image, tmp_path / "x.tif", InferOptions(), SerialComm())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.png", "x.qml", "x.tif"]
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
    told = [item["properties"].get("gsd"), *(band.get("raster:spatial_resolution") for band in asset["bands"])]
    assert told == [gsd if gsd is None else pytest.approx(gsd, rel=1e-4)] * len(told)
    assert ("at" in asset["title"].split()) == (gsd is not None)
    assert (f" to {gsd:g} m" if gsd else "brought to the finest grid") in item["properties"]["processing:lineage"]


def test_what_a_killed_process_left_of_an_item_goes(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / f".x.json.{socket.gethostname()}-{ended.pid}.partial"
    left.touch()
    super_resolve([repeating(S2X)], ArrayImage(24, 24), tmp_path / "x.tif", InferOptions(), SerialComm())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.png", "x.qml", "x.tif"]
