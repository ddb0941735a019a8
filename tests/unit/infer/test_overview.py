"""How an image is shown, in its small picture and in QGIS: the right colours, nodata transparent, a sensible range."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio
from array_images import KINDS_ARE_KNOWN, ArrayImage, both_repeating, repeating
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.overview import OVERVIEW_PX, look_at
from hpc_sr.infer.super_resolve import super_resolve
from hpc_sr.tasks import RGBN, S2X, S6X, Task, shown_bands

LOADED_BY_QGIS = Path(__file__).resolve().parents[2] / "qgis_look.py"
NAMES = ("B02", "B03", "B04")


def geotiff(path: Path, planes: np.ndarray, names: tuple[str, ...] = NAMES, nodata: float | None = 0) -> Path:
    """Write planes (C, H, W) of DN, reflectance = (DN - 1000) / 10 000."""
    count, height, width = planes.shape
    form = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": "uint16", "nodata": nodata}
    with rasterio.open(path, "w", **form, transform=Affine(10, 0, 0, 0, -10, 0)) as tif:
        tif.write(planes.astype(np.uint16))
        tif.descriptions, tif.scales, tif.offsets = names, [1e-4] * count, [-0.1] * count
    return path


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("B01", "B02", "B03", "B04", "B05", "B08"), ("B04", "B03", "B02")),
        (("B03", "B04", "B08"), ("B08", "B04", "B03")),
        (S2X.bands, ("B11", "B8A", "B05")),
        (S6X.bands, ("B01",)),
        (RGBN, ("R", "G", "B")),
        (("B05", "B05_spread"), ("B05",)),
    ],
)
def test_true_colours_are_shown_where_they_are(names: tuple[str, ...], shown: tuple[str, ...]) -> None:
    assert shown_bands(names) == shown


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.6), st.floats(0, 0.5), st.sampled_from([0, None]))
def test_bands_keep_their_balance_in_any_scene(seed: int, dark: float, spread: float, nodata: int | None) -> None:
    rng = np.random.default_rng(seed)
    planes = 1000 + 1e4 * rng.uniform(dark, dark + spread, (3, 20, 30)) * rng.uniform(0.2, 1, (3, 1, 1))
    with rasterio.MemoryFile() as file:
        path = geotiff(Path(file.name), planes, nodata=nodata)
        look, picture = look_at(path)
    reach = np.array(look.high) - look.low
    assert np.ptp(reach) < 1e-3 and 0.0549 <= reach[0] <= 0.3851
    assert (picture[..., 3] == 255).all()
    for colour, band in enumerate(look.bands):
        seen, held = picture[..., colour].ravel(), np.trunc(planes[NAMES.index(band)]).ravel()
        assert (np.diff(seen[np.argsort(held)].astype(int)) >= 0).all(), "what is brighter is shown no darker"


def test_clouds_do_not_make_the_ground_dark_and_noise_on_water_is_no_colour(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ground = rng.uniform(1200, 3000, (3, 50, 50))
    cloudy = ground.copy()
    cloudy[:, :20] = 9000
    pictures = [look_at(geotiff(tmp_path / "x.tif", planes))[1] for planes in (ground, cloudy)]
    assert pictures[1][:20, :, :3].min() == 255
    assert pictures[1][20:, :, :3].mean() > 0.4 * pictures[0][20:, :, :3].mean()
    water = rng.normal(1300, 4, (3, 50, 50))
    assert np.ptp(look_at(geotiff(tmp_path / "w.tif", water))[1][..., :3]) < 30


def test_the_picture_is_small_and_transparent_where_a_shown_band_is_nodata(tmp_path: Path) -> None:
    planes = np.full((3, 40, 4 * OVERVIEW_PX), 2000)
    planes[1, :20] = 0
    planes[2, :, : 2 * OVERVIEW_PX] = 4000
    _, picture = look_at(geotiff(tmp_path / "x.tif", planes))
    assert picture.shape == (10, OVERVIEW_PX, 4)
    assert not picture[:5].any() and (picture[5:, :, 3] == 255).all()
    assert (picture[5:, :512, 0] > picture[5:, 512:, 0]).all(), "B04 is red"
    assert not look_at(geotiff(tmp_path / "empty.tif", 0 * planes))[1].any()


def test_gdal_is_told_what_each_band_is(tmp_path: Path) -> None:
    out = super_resolve(both_repeating(), ArrayImage(24, 24), tmp_path / "x.tif", InferOptions(), SerialComm()).path
    with rasterio.open(out) as tif:
        meanings = dict(zip(tif.descriptions, tif.colorinterp, strict=True))
        expected = {
            "B01": ColorInterp.coastal,
            "B02": ColorInterp.blue,
            "B03": ColorInterp.green,
            "B04": ColorInterp.red,
            **dict.fromkeys(("B05", "B06", "B07"), ColorInterp.rededge),
            **dict.fromkeys(("B08", "B8A", "B09"), ColorInterp.nir),
            **dict.fromkeys(("B11", "B12"), ColorInterp.swir),
        }
        if KINDS_ARE_KNOWN:
            assert meanings == expected
            assert tif.tags(1, ns="IMAGERY") == {"CENTRAL_WAVELENGTH_UM": "0.443", "FWHM_UM": "0.02"}
        else:
            colours = {name: meanings[name] for name in ("B02", "B03", "B04")}
            assert colours == {name: expected[name] for name in colours}


@pytest.fixture(scope="module")
def python_with_qgis() -> str:
    """The interpreter that has QGIS. No REQUIRE_ALL asks for it: QGIS is 215 packages of a system, and no library."""
    for python in dict.fromkeys(filter(None, ("/usr/bin/python3", shutil.which("python3")))):
        if subprocess.run([python, "-c", "import qgis.core"], capture_output=True, check=False).returncode == 0:
            return python
    pytest.skip("no interpreter here has QGIS (Debian: python3-qgis)")


@pytest.mark.parametrize(
    ("options", "tasks", "names"),
    [
        ({"dtype": "uint16"}, (S2X, S6X), ["B04", "B03", "B02"]),
        ({"dtype": "float32"}, (S2X, S6X), ["B04", "B03", "B02"]),
        ({"bands": "sharpened"}, (S2X, S6X), ["B11", "B8A", "B05"]),
        ({"bands": "sharpened"}, (S6X,), ["B01"]),
    ],
    ids=["DN", "reflectance", "infrared", "grey"],
)
def test_qgis_shows_the_colours_of_the_picture(
    tmp_path: Path, python_with_qgis: str, options: dict, tasks: tuple[Task, ...], names: list[str]
) -> None:
    image = ArrayImage(60, 60)
    for name in image.bands:
        image.dn[name][:2, :2] = 0
    models = [repeating(task) for task in tasks]
    out = super_resolve(models, image, tmp_path / "x.tif", InferOptions(**options), SerialComm()).path
    rendered = tmp_path / "rendered.png"
    done = subprocess.run(
        [python_with_qgis, LOADED_BY_QGIS, out, rendered],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "QT_QPA_PLATFORM": "offscreen"},
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with rasterio.open(out) as tif, rasterio.open(rendered) as seen, rasterio.open(out.with_suffix(".png")) as picture:
        bands = [tif.descriptions.index(name) + 1 for name in names]
        assert json.loads(done.stdout)["bands"] == bands
        # QGIS takes nodata 0 for reflectance 0 besides: such pixels are transparent in it, with any style.
        zero = (np.abs(tif.read(bands) * tif.scales[0] + tif.offsets[0]) < 1e-7).any(axis=0)
        difference = np.abs(seen.read().astype(int) - picture.read())[:, ~zero]
        assert difference.max() <= 1 and (~zero).mean() > 0.99
        assert picture.read()[:3].std() > 50
