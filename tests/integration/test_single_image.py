"""hpc-sr infer on pictures: killed and shared out it gives the same bytes; products, folders and refusals."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from made_networks import saved as saved_in
from made_networks import trained
from support import require, run_cli

from data_prep.build import prepare
from data_prep.options import ImageOptions, SplitOptions
from data_prep.synthetic import landscape, write_product
from hpc_sr.comm.mpi import SerialWorld
from hpc_sr.tasks import REFLECTANCE, TASKS

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
#: The command line with a note in the journal after each tile, and a network that takes its time.
SLOW = (
    "import hpc_sr.infer.mosaic as m, hpc_sr.infer.pictures.upscale as u, time; m._SYNC_EVERY_S = 0.0; "
    "f = u.upscale_tile; u.upscale_tile = lambda *a: (time.sleep(0.05), f(*a))[1]; "
    "from hpc_sr.__main__ import main; main()"
)


def saved(folder: Path, task: str, level: str = "", units: str = "8 bit") -> Path:
    """Return a checkpoint folder with a narrow network of random weights."""
    return saved_in(folder, trained(TASKS[task], 16, units=units, degradation="bicubic", level=level))


def picture(path: Path, height: int = 61, width: int = 47, dtype: str = "uint8", count: int = 3) -> Path:
    values = np.random.default_rng(height).integers(1, 250, (count, height, width)).astype(dtype)
    with rasterio.open(
        path,
        "w",
        driver="GTiff" if path.suffix == ".tif" else "PNG",
        count=count,
        height=height,
        width=width,
        dtype=dtype,
    ) as image:
        image.write(values)
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of 8-bit pictures and its store, and a run of s2x."""
    folder = tmp_path_factory.mktemp("single")
    run = saved(folder / "run", "sisr_x2")
    picture(folder / "hr.png", 64, 64)
    options = ImageOptions(hr=(str(folder / "hr.png"),), patch_px=16, split=SplitOptions())
    prepare(options, TASKS["sisr_x2"], folder / "store", SerialWorld())
    (run / "recipe.yaml").write_text(f"store: {folder / 'store'}\n")
    saved(folder / "s2x", "s2x", "L1C", REFLECTANCE)
    return folder


def words(world: Path, out: Path) -> list[object]:
    return ["infer", world / "run", "--image", world / "large.png", "--out", out, "--tile", "16", "--overlap", "6"]


def command(world: Path, out: Path) -> list[str]:
    return [sys.executable, "-c", SLOW, *map(str, words(world, out))]


@pytest.fixture(scope="module")
def unbroken(world: Path) -> Path:
    picture(world / "large.png")
    assert not run_cli(*words(world, world / "unbroken.png"))
    return world / "unbroken.png"


def test_a_killed_command_goes_on_to_the_identical_file(
    world: Path, unbroken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "killed.png"
    process = subprocess.Popen(command(world, out), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    journal = tmp_path / ".killed.png.partial" / "done.0000"
    until = time.monotonic() + 600
    while time.monotonic() < until and not (journal.exists() and journal.read_text().count("\n") > 4):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not out.exists()
    before = len(journal.read_text().split())
    assert not run_cli(*words(world, out))
    assert f" {30 - before} tiles in" in capsys.readouterr().err and before > 0
    assert out.read_bytes() == unbroken.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["killed.png"]


def test_two_ranks_write_the_identical_file(world: Path, unbroken: Path, tmp_path: Path) -> None:
    require(shutil.which("mpirun"), "no mpirun")
    ranks = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np", "2"]
    out = tmp_path / "shared.png"
    done = subprocess.run([*ranks, *command(world, out)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == unbroken.read_bytes()


def test_several_pictures_go_into_a_folder(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = picture(tmp_path / "a.png"), picture(tmp_path / "b.png", dtype="uint16")
    out = tmp_path / "out"
    assert run_cli("infer", world / "run", "--image", first, second, "--out", out) == 2
    told = capsys.readouterr().err
    assert "1 of 2 pictures failed" in told and "16 bit numbers, the model was trained on 8 bit" in told
    assert [path.name for path in out.iterdir()] == ["a.png"], "the good one is done"
    with rasterio.open(out / "a.png") as image:
        assert (image.height, image.width) == (122, 94)


def test_a_product_goes_through_a_run_of_its_10_m_bands(tmp_path: Path) -> None:
    product = write_product(tmp_path, landscape(120, 3))
    options = ImageOptions(
        products=(str(product),), bands=("B02", "B03", "B04", "B08"), values="reflectance", patch_px=24, stride_px=24
    )
    prepare(options, TASKS["sisr_x3_rgbn"], tmp_path / "store", SerialWorld())
    run = saved(tmp_path / "run", "sisr_x3_rgbn", "L1C", REFLECTANCE)
    (run / "recipe.yaml").write_text(f"store: {tmp_path / 'store'}\n")
    assert not run_cli("infer", run, product, "--out", tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as image:
        assert image.descriptions == ("B02", "B03", "B04", "B08") and (image.height, image.width) == (360, 360)
    other = saved(tmp_path / "l2a", "sisr_x3_rgbn", "L2A", REFLECTANCE)
    (other / "recipe.yaml").write_text(f"store: {tmp_path / 'store'}\n")
    assert run_cli("infer", other, "--product", product, "--out", tmp_path / "b.tif") == 2
    assert not run_cli("infer", other, "--product", product, "--out", tmp_path / "b.tif", "--any-level")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--back-project"], "--back-project: is for products"),
        (["--dtype", "float32"], "--dtype: is for products"),
        (["--region-px", "0,0,6,6"], "--region: is for products"),
        (["--product", "a.SAFE"], "--product and --image: are given both"),
        (["--overlap", "96"], "cannot tile"),
    ],
)
def test_options_that_do_not_go_with_pictures_are_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    source = picture(tmp_path / "a.png")
    assert run_cli("infer", world / "run", "--image", source, "--out", tmp_path / "b.png", *options) == 2
    assert told in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("runs", "told"), [(["s2x"], "several grids"), (["run", "s2x"], "pictures take one"), (["none"], "no checkpoint")]
)
def test_runs_that_are_not_for_pictures_are_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], runs: list[str], told: str
) -> None:
    source = picture(tmp_path / "a.png")
    paths = [world / name for name in runs]
    assert run_cli("infer", *paths, "--image", source, "--out", tmp_path / "b.png") == 2
    assert told in capsys.readouterr().err and not (tmp_path / "b.png").exists()
