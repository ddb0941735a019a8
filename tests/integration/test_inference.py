"""hpc-sr infer on whole products: killed and shared out it gives the same bytes, and files that others can open."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from made_networks import saved, trained
from support import require, run_cli

from data_prep.synthetic import landscape, read_scene, write_product
from hpc_sr.sentinel2.safe import BandReader, open_product
from hpc_sr.tasks import S2X, S6X

ROOT = Path(__file__).resolve().parents[2]
#: The command line with a note in the journal after each window.
SMALL = "import hpc_sr.infer.mosaic as m; m._SYNC_EVERY_S = 0.0; from hpc_sr.__main__ import main; main()"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs s2x and s6x and a product of 360 x 360 px with a hole, `one` a link to it."""
    folder = tmp_path_factory.mktemp("infer")
    for task, patch_px in ((S2X, 16), (S6X, 24)):
        saved(folder / task.name, trained(task, patch_px))
    scene = landscape(360, 3)
    scene.dn["B11"][20:24, 100:130] = 0
    (folder / "one").symlink_to(write_product(folder / "products", scene, tile="33UUB"))
    return folder


def words(world: Path, out: Path, *options: str) -> list[object]:
    product = (world / "one").resolve()
    return ["infer", world / "s2x", world / "s6x", "--product", product, "--out", out, "--window-px", "96", *options]


def command(world: Path, out: Path) -> list[str]:
    return [sys.executable, "-c", SMALL, *map(str, words(world, out))]


@pytest.fixture(scope="module")
def unbroken(world: Path) -> Path:
    """The image that one command made in one go."""
    assert not run_cli(*words(world, world / "unbroken.tif"))
    return world / "unbroken.tif"


def test_a_killed_command_goes_on_to_the_identical_file(
    world: Path, unbroken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, kills = tmp_path / "unbroken.tif", 0
    for wanted in (1, 6):
        process = subprocess.Popen(command(world, out), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 600
        while process.poll() is None and time.monotonic() < deadline:
            noted = [p.read_text().split() for p in tmp_path.glob(".*.partial/done.*")]
            if sum(map(len, noted)) >= wanted:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        kills += process.wait() == -signal.SIGKILL
    assert kills == 2 and not out.exists()
    assert not run_cli(*words(world, out))
    assert "of them from before" in capsys.readouterr().err
    assert out.read_bytes() == unbroken.read_bytes()
    for kind in (".json", ".qml", ".png"):
        assert out.with_suffix(kind).read_bytes() == unbroken.with_suffix(kind).read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {f"unbroken.{kind}" for kind in ("tif", "json", "qml", "png")}


def test_two_ranks_write_the_identical_file(world: Path, unbroken: Path, tmp_path: Path) -> None:
    require(shutil.which("mpirun"), "mpirun is not installed")
    out = tmp_path / "unbroken.tif"
    ranks = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np", "2"]
    done = subprocess.run([*ranks, *command(world, out)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "[0/2]" in done.stderr
    assert out.read_bytes() == unbroken.read_bytes()


def test_one_file_holds_the_whole_cube_and_says_what_it_is(world: Path, unbroken: Path) -> None:
    product = open_product((world / "one").resolve())
    with rasterio.open(unbroken) as tif, BandReader(product) as reader:
        names = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]
        assert list(tif.descriptions) == names
        assert (tif.height, tif.width, tif.dtypes[0], tif.nodata) == (360, 360, "uint16", 0)
        assert tif.scales == (1e-4,) * 12 and tif.offsets == (-0.1,) * 12
        assert [c.name for c in tif.colorinterp[1:4]] == ["blue", "green", "red"]
        assert tif.tags(6)["wavelength_nm"] == "740" and tif.tags(6)["made"] == "sharpened"
        assert tif.tags()["tile"] == "33UUB" and tif.tags()["super_resolved"].startswith("B01 B05")
        for name in ("B02", "B03", "B04", "B08"):
            assert np.array_equal(tif.read(names.index(name) + 1), reader.dn(name))
        hole = np.zeros((360, 360), bool)
        hole[40:48, 200:260] = True
        assert np.array_equal(tif.read(11) == 0, hole)


def test_the_cog_is_valid(world: Path, unbroken: Path, tmp_path: Path) -> None:
    from rio_cogeo import cog_validate

    big = write_product(tmp_path / "p", landscape(720, 4), tile="32TQM")
    for out, options in ((unbroken, None), (tmp_path / "f.tif", ["--dtype", "float32"])):
        if options is not None:
            assert not run_cli("infer", world / "s2x", big, "--out", out, *options)
        valid, errors, warnings = cog_validate(out, strict=True)
        assert valid and not errors and not warnings
    with rasterio.open(tmp_path / "f.tif") as tif:
        assert tif.overviews(1) == [2] and np.isnan(tif.nodata) and tif.dtypes[0] == "float32"
        assert tif.compression.name == "zstd"


def test_the_stac_item_is_valid(world: Path, unbroken: Path) -> None:
    import pystac
    from pystac.extensions.projection import ProjectionExtension
    from rasterio.warp import transform_bounds

    item = pystac.Item.from_file(unbroken.with_suffix(".json"))
    with rasterio.open(unbroken) as tif:
        bounds = transform_bounds(tif.crs, "EPSG:4326", *tif.bounds)
        assert item.bbox == pytest.approx(bounds, abs=2e-5)
        assert item.properties["proj:shape"] == [tif.height, tif.width]
        assert item.properties["proj:transform"] == list(tif.transform)[:6]
        image = item.assets["image"]
        bands = image.extra_fields["bands"]
        assert [band["name"] for band in bands] == list(tif.descriptions)
        assert [band["raster:offset"] for band in bands] == list(tif.offsets)
        assert ProjectionExtension.ext(item).code == f"EPSG:{tif.crs.to_epsg()}"
    assert item.datetime is not None and item.datetime.year == 2023
    item.stac_extensions = []  # their schemas are on the web
    try:
        assert item.validate()
    except pystac.errors.STACLocalValidationError:
        require(False, "the schemas of STAC are not installed")


def test_many_products_go_to_a_folder_and_what_fails_keeps_nobody(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = write_product(tmp_path / "p", landscape(120, 5), tile="32TQM")
    first, out = (world / "one").resolve(), tmp_path / "out"
    assert run_cli("infer", world / "s2x", "--product", tmp_path / "absent.SAFE", first, second, "--out", out) == 2
    assert "1 of 3 products failed" in capsys.readouterr().err
    images = {out / f"{p.stem}.tif" for p in (first, second)}
    assert set(out.glob("*.tif")) == images
    before = {image: image.stat().st_mtime_ns for image in images}
    assert not run_cli("infer", world / "s2x", "--product", first, second, "--out", out)
    assert {image: image.stat().st_mtime_ns for image in images} == before


def test_a_damaged_band_is_named_and_nothing_is_left_under_the_final_name(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    product = write_product(tmp_path / "p", landscape(240, 6), tile="32TQM")
    (band,) = product.glob("GRANULE/*/IMG_DATA/*B11.jp2")
    whole = band.read_bytes()
    band.write_bytes(whole[: len(whole) // 2])
    assert run_cli("infer", world / "s2x", product, "--out", tmp_path / "x.tif") == 2
    told = capsys.readouterr().err
    assert "B11.jp2" in told and "cure" in told
    assert not (tmp_path / "x.tif").exists() and not (tmp_path / "x.json").exists()
    band.write_bytes(whole)
    assert not run_cli("infer", world / "s2x", product, "--out", tmp_path / "x.tif")


def test_a_region_in_degrees(world: Path, unbroken: Path, tmp_path: Path) -> None:
    west, south, east, north = json.loads(unbroken.with_suffix(".json").read_text())["bbox"]
    middle = (west + 0.4 * (east - west), south + 0.4 * (north - south), (west + east) / 2, (south + north) / 2)
    out = tmp_path / "part.tif"
    text = ",".join(f"{number:.7f}" for number in middle)
    assert not run_cli(*words(world, out, "--region", text))
    with rasterio.open(out) as part, rasterio.open(unbroken) as whole:
        window = rasterio.windows.from_bounds(*part.bounds, whole.transform)
        assert np.array_equal(part.read(), whole.read(window=window))
        assert 0 < part.height < 100 and part.height % 6 == 0


def test_real_pixels_stay_near_what_was_measured(world: Path, shared_data: Path, tmp_path: Path) -> None:
    scene = read_scene(shared_data / "scenes" / "l1c_iceland.npz")
    height, width = (side // 6 * 6 for side in scene.shape_10m)
    product = write_product(tmp_path / "p", scene, tile="27VWL", baseline="02.06")
    out = tmp_path / "x.tif"
    assert not run_cli("infer", world / "s2x", world / "s6x", product, "--out", out, "--back-project")
    with rasterio.open(out) as tif, BandReader(open_product(product)) as reader:
        assert (tif.height, tif.width) == (height, width)
        for index, name in enumerate(tif.descriptions, start=1):
            scale = {"B01": 6, "B09": 6}.get(name, 1 if name in ("B02", "B03", "B04", "B08") else 2)
            sharp = tif.read(index).astype(float)
            means = sharp.reshape(height // scale, scale, width // scale, scale).mean((1, 3))
            # `wald` is nearly the mean of the box; rounding to DN and its narrow Gaussian are what is left.
            assert np.corrcoef(means.ravel(), reader.dn(name).ravel())[0, 1] > 0.98, name


def test_jobs_that_take_turns_take_no_other_file_for_a_finished_image(world: Path, tmp_path: Path) -> None:
    product, program = (world / "one").resolve(), tmp_path / "bin" / "hpc-sr"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m hpc_sr "$@"\n')
    program.chmod(0o755)
    ranks = {"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "PATH": f"{program.parent}:{os.environ['PATH']}"}
    command = ["bash", ROOT / "slurm" / "infer_turns.sh", world / "s2x", tmp_path, product]
    image = tmp_path / f"{product.stem}.tif"
    image.write_bytes(b"a copy that was broken off")
    done = subprocess.run(command, env={**os.environ, **ranks}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1 and "exists already" in done.stderr and "1 products" in done.stderr
    assert image.read_bytes() == b"a copy that was broken off"
    image.unlink()
    done = subprocess.run(command, env={**os.environ, **ranks}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and image.stat().st_size > 1e5, done.stderr
