"""hpc-sr infer without training: what is given is told apart, killed it goes on, the pages do what they say."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from made_networks import saved, trained
from support import require, run_cli

from data_prep.synthetic import landscape, write_product
from hpc_sr.tasks import S2X

ROOT = Path(__file__).resolve().parents[2]
#: The command line with a note in the journal after each window.
SMALL = "import hpc_sr.infer.mosaic as m; m._SYNC_EVERY_S = 0.0; from hpc_sr.__main__ import main; main()"


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_product(tmp_path_factory.mktemp("sharpen"), landscape(240, 3), tile="33UUB")


def test_a_product_alone_is_sharpened_and_by_what_is_told(
    product: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not run_cli("infer", product)
    image = tmp_path / "sharpened" / f"{product.stem}.tif"
    told = capsys.readouterr()
    assert told.out.strip() == str(image.relative_to(tmp_path)) and "the ready-made weights detail_mtf" in told.err
    with rasterio.open(image) as tif:
        assert tif.count == 12
        twenty, sixty = tif.tags()["model"].split("; ")
        assert "degradation mtf level L1C" in twenty and sixty == "guided (no training) degradation mtf"
    assert image.with_suffix(".json").exists()
    (copied,) = _copied("detail_mtf", tmp_path / "mine", "L1C")
    for words in (["--weights", "detail_mtf"], [copied]):
        assert not run_cli("infer", *words, product, "--out", tmp_path / "again.tif", "--overwrite")
        with rasterio.open(image) as one, rasterio.open(tmp_path / "again.tif") as two:
            places = [one.descriptions.index(name) + 1 for name in two.descriptions]
            assert len(places) == (10 if words == [copied] else 12) and np.array_equal(one.read(places), two.read())
    # The metadata file and a zip of it are the same product; --method may stand anywhere.
    (xml,) = product.glob("MTD_*.xml")
    assert not run_cli("infer", xml, "--out", tmp_path / "xml.tif")
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in product.rglob("*"):
            archive.write(path, path.relative_to(product.parent))
    assert not run_cli("infer", packed, "--weights", "detail_mtf", "--out", tmp_path / "new_folder")
    with rasterio.open(image) as one:
        for other in (tmp_path / "xml.tif", *(tmp_path / "new_folder").glob("*.tif")):
            with rasterio.open(other) as two:
                assert np.array_equal(one.read(), two.read())


def _copied(name: str, out: Path, level: str) -> list[Path]:
    assert not run_cli("weights", name, "--out", out)
    return sorted(out.glob(f"{level}_*"))


def _bands_as_files(product: Path, folder: Path) -> list[Path]:
    """Write the bands of an L2A product as GeoTIFFs that tell scale and offset; return their paths, finest first."""
    (images,) = product.glob("GRANULE/*/IMG_DATA")
    found = []
    for gsd_m in (10, 20, 60):
        for path in images.glob(f"R{gsd_m}m/*_B*_{gsd_m}m.jp2"):
            name = path.stem.split("_")[-2]
            if {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B01": 60, "B09": 60}.get(name, 20) != gsd_m:
                continue
            with rasterio.open(path) as band:
                shape = {"height": band.height, "width": band.width, "crs": band.crs, "transform": band.transform}
                found.append(folder / f"{name}.tif")
                with rasterio.open(found[-1], "w", driver="GTiff", count=1, dtype="uint16", nodata=0, **shape) as tif:
                    tif.write(band.read())
                    tif.scales, tif.offsets = (1e-4,), (-0.1,)
    return found


def test_what_there_are_no_weights_for_is_sharpened_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    product = write_product(tmp_path / "p", landscape(120, 5), tile="31TCJ", level="L2A")
    bands = _bands_as_files(product, tmp_path)
    stack = [path for path in bands if path.stem in ("B02", "B03", "B04", "B08", "B11", "B01")]
    assert not run_cli("infer", "--stack", *stack, "--out", tmp_path / "x.tif")
    assert "sharpening with guided;" in capsys.readouterr().err
    with rasterio.open(tmp_path / "x.tif") as tif:
        assert tif.count == 6 and tif.tags()["model"] == "guided (no training) degradation mtf"
        assert "training_step" not in tif.tags() and tif.tags()["degradation"] == "mtf"
    for words, told in (
        (["--weights", "detail_mtf"], "has no network for the bands of"),
        (["--weights", "detail_mt"], "did you mean 'detail_mtf'"),
        (["--weights", "detail_mtf", "--method", "guided"], "weights: is given beside method"),
        (["--weights", "detail_mtf", "--degradation", "wald"], "degradation: is given beside weights"),
    ):
        assert run_cli("infer", "--stack", *stack, *words, "--out", tmp_path / "y.tif") == 2
        assert told in capsys.readouterr().err and not (tmp_path / "y.tif").exists()
    assert not run_cli("weights")
    assert "detail_mtf" in capsys.readouterr().out
    assert run_cli("weights", "--out", tmp_path / "z") == 2


def test_what_is_given_is_told_apart_and_what_is_neither_is_named(
    product: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, empty, out = saved(tmp_path / "run", trained(S2X, 16)), tmp_path / "empty", tmp_path / "x.tif"
    empty.mkdir()
    for words, told in (
        ([], "there is nothing to sharpen"),
        ([run], "is a run, and there is no product"),
        ([empty], "holds no MTD_MSIL1C.xml"),
        ([product.parent], f"give that: {product}"),
        ([tmp_path / "absent"], "cannot be opened (No such file"),
        ([empty, product], "is no product, and holds no checkpoint"),
        ([tmp_path / "absent", product], "holds no checkpoint"),
        ([product, "--product", product], "is a product, beside --product"),
        ([run, product, "--method", "guided"], "--method: is given beside a run"),
        ([run, product, "--degradation", "wald"], "--degradation: is given beside a run"),
        ([run, product, "--weights", "detail_mtf"], "--weights: is given beside a run"),
        ([product, "--method", "guided", "--self-ensemble"], "guided makes the same of an image that is turned"),
        (["--image", tmp_path / "x.png"], "needs a run of a task sisr_"),
    ):
        assert run_cli("infer", *words, "--out", out) == 2, words
        assert told in (found := capsys.readouterr().err) and "cure" in found, words
        assert not out.exists()
    assert run_cli("infer", empty, "--out", tmp_path / "folder") == 2
    assert not (tmp_path / "folder").exists(), "a folder that nothing came into is not left behind"
    assert not run_cli("infer", run, product, "--out", out)  # as before: the run, then the product
    with rasterio.open(out) as tif:
        assert tif.count == 10 and "step 7" in tif.tags()["model"]


def test_several_products_of_any_level_and_files_of_bands(product: Path, tmp_path: Path) -> None:
    other = write_product(tmp_path / "p", landscape(120, 5), tile="31TCJ", level="L2A")
    options = ("--method", "bicubic", "--format", "gtiff", "--check", "--back-project")
    assert not run_cli("infer", product, other, "--out", tmp_path / "both", *options)
    images = [tmp_path / "both" / f"{path.stem}.tif" for path in (product, other)]
    with rasterio.open(images[1]) as tif:
        assert tif.count == 12 and tif.tags()["level"] == "L2A"
    stack = _bands_as_files(other, tmp_path)
    assert not run_cli("infer", *options, "--stack", *stack, "--out", tmp_path / "stack.tif")
    with rasterio.open(images[1]) as one, rasterio.open(tmp_path / "stack.tif") as two:
        assert one.descriptions == two.descriptions and np.array_equal(one.read(), two.read())


def test_a_killed_command_goes_on_to_the_identical_file(product: Path, tmp_path: Path) -> None:
    def command(out: Path) -> list[str]:
        words = ["infer", product, "--method", "atprk", "--out", out, "--window-px", "60"]
        return [sys.executable, "-c", SMALL, *map(str, words)]

    unbroken, out = tmp_path / "a" / "x.tif", tmp_path / "b" / "x.tif"
    for folder in (unbroken.parent, out.parent):
        folder.mkdir()
    ranks = []
    if shutil.which("mpirun"):
        ranks = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np", "2"]
    done = subprocess.run([*ranks, *command(unbroken)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    process = subprocess.Popen(command(out), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None and not [p for p in out.parent.glob(".*.partial/done.*") if p.read_text().split()]:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not out.exists()
    again = subprocess.run(command(out), capture_output=True, text=True, timeout=600)
    assert again.returncode == 0 and "of them from before" in again.stderr, again.stderr
    assert out.read_bytes() == unbroken.read_bytes()
    require(ranks, "mpirun is not installed")


@pytest.mark.parametrize("page", ["sharpen.md", "python.md"])
def test_the_page_does_what_it_says(page: str, product: Path, tmp_path: Path) -> None:
    """Every block of the page is run, in order, beside a product X.SAFE and another one, Y.zip."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    shutil.copytree(product, tmp_path / "X.SAFE")
    other = write_product(tmp_path / "other", landscape(240, 4), tile="32TQM")
    with zipfile.ZipFile(tmp_path / "Y.zip", "w") as archive:
        for path in other.rglob("*"):
            archive.write(path, path.relative_to(other.parent))
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "200",
    }
    blocks = re.findall(r"```(sh|python)\n(.*?)```", text, re.DOTALL)
    assert blocks
    program = {"sh": ["bash", "-ec"], "python": [sys.executable, "-c"]}
    for language in ("sh", "python"):
        code = "\n".join(block for kind, block in blocks if kind == language)
        done = subprocess.run(
            [*program[language], code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
