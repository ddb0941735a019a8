"""From products to a GeoTIFF: the same store when prepared again, the same weights after a kill, true places."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from made_networks import saved
from scipy.ndimage import convolve1d
from support import TinyWorld, run_cli

from hpc_sr.sentinel2.rasters import affine
from hpc_sr.sentinel2.safe import BandReader, open_product
from hpc_sr.shards.schema import read_manifest
from hpc_sr.weights.folder import find_checkpoint
from hpc_sr.weights.trained import load_trained


def cli(*arguments: object) -> None:
    """Run a command that must end well."""
    assert not run_cli(*arguments)


@pytest.fixture(scope="module")
def run_dir(tiny: TinyWorld) -> Path:
    """A trained run of the tiny recipe."""
    cli("train", tiny.recipe, "name=pipeline")
    return tiny.recipe.parent / "runs" / "pipeline"


def test_preparing_again_keeps_what_is_finished(tiny: TinyWorld, tmp_path: Path) -> None:
    store = tmp_path / "store"
    cli("prepare", tiny.recipe, f"store={store}")
    first = {p.name: p.stat().st_mtime_ns for p in (store / "shards").iterdir()}
    manifest = read_manifest(store)
    damaged = sorted(store.glob("shards/*.h5"))[0]
    damaged.unlink()
    cli("prepare", tiny.recipe, f"store={store}")
    second = {p.name: p.stat().st_mtime_ns for p in (store / "shards").iterdir()}
    assert {name for name in first if first[name] != second[name]} == {damaged.name}
    assert read_manifest(store) == manifest


def _tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    optimizer = torch.load(checkpoint / "training.pt", weights_only=True)["parts"]["generator.optimizer"]
    moments = {f"{k}.{n}": v for k, s in optimizer["state"].items() for n, v in s.items()}
    assert moments
    return {**torch.load(checkpoint / "generator.pt", weights_only=True), **moments}


def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(tiny: TinyWorld, run_dir: Path) -> None:
    killed = run_dir.with_name("killed")
    command = [sys.executable, "-m", "hpc_sr", "train", str(tiny.recipe), "name=killed", "train.keep_checkpoints=10000"]
    # The learning rate is constant, so a run without an end takes the same steps, however late the kill arrives.
    process = subprocess.Popen([*command, "schedule.total_samples=100000000"], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 600
    while not (killed / "checkpoints" / "step_00000005").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for checkpoint in (killed / "checkpoints").glob("step_*"):
        if checkpoint.name > "step_00000015":
            shutil.rmtree(checkpoint)
    cli("train", tiny.recipe, "name=killed", "train.keep_checkpoints=10000")
    assert "resumed from" in (killed / "log" / "rank_0000.log").read_text()
    ours, theirs = (_tensors(run / "checkpoints" / "step_00000020") for run in (killed, run_dir))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    steps = [json.loads(line)["step"] for line in (killed / "metrics.jsonl").read_text().splitlines()]
    assert steps == [5, 10, 10, 15, 20, 20]


def test_a_run_that_is_complete_is_left_alone(tiny: TinyWorld, run_dir: Path) -> None:
    before = (run_dir / "checkpoints" / "step_00000020" / "generator.pt").stat().st_mtime_ns
    cli("train", tiny.recipe, "name=pipeline")
    assert (run_dir / "checkpoints" / "step_00000020" / "generator.pt").stat().st_mtime_ns == before


def test_a_damaged_run_is_not_used_until_training_has_put_it_right(
    tiny: TinyWorld, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = run_dir.with_name("damaged")
    shutil.copytree(run_dir, damaged)
    checkpoint = find_checkpoint(damaged)
    path = checkpoint / "generator.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for arguments in (["infer", damaged, tiny.products[0], "--out", tmp_path / "x.tif"], ["evaluate", damaged]):
        assert run_cli(*arguments) == 2
        told = " ".join(capsys.readouterr().err.split())
        assert "is damaged: generator.pt differ" in told and checkpoint.name in told
    assert not list(tmp_path.iterdir())
    cli("train", tiny.recipe, "name=damaged")
    assert checkpoint.with_name(f"damaged_{checkpoint.name}").is_dir()
    assert load_trained(damaged).digest == load_trained(run_dir).digest


def test_a_run_directory_holds_what_the_readme_says(run_dir: Path) -> None:
    names = {"recipe.yaml", "environment.json", "metrics.jsonl", "log", "checkpoints", "tensorboard"}
    assert names <= {path.name for path in run_dir.iterdir()}
    assert (run_dir / "log" / "rank_0000.log").read_text()
    checkpoints = sorted(path.name for path in (run_dir / "checkpoints").glob("step_*"))
    assert checkpoints[-1] == "step_00000020" and len(checkpoints) <= 3
    assert not (run_dir / "checkpoints" / "best.json").exists(), "which is best, the clocks say"
    assert json.loads((run_dir / "environment.json").read_text())["world_size"] == 1


def test_products_and_stores_are_scored_next_to_bicubic(run_dir: Path, tiny: TinyWorld, tmp_path: Path) -> None:
    scores = tmp_path / "scores.json"
    cli("evaluate", run_dir, "--product", *tiny.products, "--protocol", "both", "--json", scores)
    both = json.loads(scores.read_text())
    assert set(both) == {"synthesis", "consistency"}
    for protocol, evaluation in both.items():
        assert evaluation == json.loads((run_dir / "evaluate" / f"{protocol}.json").read_text())
        assert [len(scene["methods"]) for scene in evaluation["scenes"]] == [2, 2]
        assert evaluation["degradation"] == "wald"
        for scores_of in evaluation["mean"].values():
            assert all(value > 0 for value in scores_of["total"].values())
    assert (
        both["consistency"]["mean"]["bicubic"]["total"]["rmse"] < both["synthesis"]["mean"]["bicubic"]["total"]["rmse"]
    )
    cli("report", run_dir)
    page = (run_dir / "report.html").read_text()
    assert tiny.products[0].stem in page and "data:image" in page


def test_scored_scenes_are_kept_until_pixels_methods_or_weights_change(
    run_dir: Path, tiny: TinyWorld, tmp_path: Path
) -> None:
    """A killed evaluation goes on; what is marked in a kept scene shows whether it was scored again."""
    product = Path(shutil.copytree(tiny.products[1], tmp_path / tiny.products[1].name))
    kept = run_dir / "evaluate" / "scenes" / f"synthesis_{product.stem}.json"

    def again(*options: str) -> bool:
        held = json.loads(kept.read_text())
        held["scene"]["marked"] = True
        kept.write_text(json.dumps(held))
        cli("evaluate", run_dir, "--product", product, *options)
        return "marked" not in json.loads((run_dir / "evaluate" / "synthesis.json").read_text())["scenes"][0]

    cli("evaluate", run_dir, "--product", product)
    assert not again()
    assert again("--method", "nearest")
    assert again()
    assert any([again("--precision", precision) for precision in ("fp32", "bf16")])
    again()
    (product / "MTD_MSIL1C.xml").touch()
    assert again()
    kept.write_text(kept.read_text()[:100])
    cli("evaluate", run_dir, "--product", product)
    assert json.loads(kept.read_text())["scene"]["scene"] == product.stem


def test_without_products_the_run_s_own_test_products_are_scored_else_its_store(
    run_dir: Path, tiny: TinyWorld, tmp_path: Path
) -> None:
    scores = tmp_path / "scores.json"
    cli("evaluate", run_dir, "--json", scores)
    (scene,) = json.loads(scores.read_text())["synthesis"]["scenes"]
    assert "32TQM" in scene["scene"] and "patches" not in scene
    cli("evaluate", run_dir, "--store", tiny.store, "--method", "all", "--json", scores)
    evaluation = json.loads(scores.read_text())["synthesis"]
    (scene,) = evaluation["scenes"]
    assert "32TQM" in scene["scene"] and scene["patches"] > 0
    assert list(evaluation["mean"]) == ["nearest", "bilinear", "bicubic", "guided", "atprk", "supreme", "s2x"]
    assert not list((run_dir / "evaluate").glob("panels_synthesis_*"))
    assert not list((run_dir / "evaluate").glob("native_*"))


@pytest.fixture(scope="module")
def silent_run(run_dir: Path) -> Path:
    """The run with a network that adds nothing to its bilinear base: what its output must be is known exactly."""
    made = load_trained(run_dir)
    torch.nn.init.zeros_(made.generator.head.weight)
    torch.nn.init.zeros_(made.generator.head.bias)
    return saved(run_dir.with_name("silent"), made)


@pytest.mark.parametrize("which", [0, 1], ids=["offset", "no-offset"])
def test_the_geotiff_lies_where_the_product_does(silent_run: Path, tiny: TinyWorld, tmp_path: Path, which: int) -> None:
    product = open_product(tiny.products[which])
    out = tmp_path / "sr.tif"
    cli("infer", silent_run, tiny.products[which], "--out", out)
    with rasterio.open(out) as tif, BandReader(product) as reader:
        assert tif.crs.to_string() == product.grids[10].crs
        assert tif.transform == affine(product.grids[10])
        assert (tif.height, tif.width) == (240, 240)
        assert tif.descriptions == ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
        assert tif.nodata == product.nodata_dn and tif.dtypes[0] == "uint16"
        assert tif.compression.name == "zstd" and tif.profile["tiled"]
        assert tif.scales == (1e-4,) * 10
        assert tif.offsets == (product.radiometric_offset["B02"] / 1e4,) * 10
        for index, name in enumerate(tif.descriptions, start=1):
            dn = tif.read(index)
            if name in ("B02", "B03", "B04", "B08"):
                assert np.array_equal(dn, reader.dn(name))
                continue
            box = dn.reshape(120, 2, 120, 2).mean((1, 3))
            # The 2 x 2 mean of bilinear up-sampling by 2 weights the measured pixels 1/8, 3/4, 1/8 along each axis.
            expected = reader.dn(name).astype(float)
            for axis in (0, 1):
                expected = convolve1d(expected, [0.125, 0.75, 0.125], axis=axis, mode="reflect")
            assert np.abs(box - expected).max() < 1.0
    assert {path.name for path in tmp_path.iterdir()} == {f"sr.{kind}" for kind in ("tif", "json", "qml", "png")}


def test_a_trained_network_keeps_the_measured_brightness(run_dir: Path, tiny: TinyWorld, tmp_path: Path) -> None:
    cli("infer", run_dir, tiny.products[0], "--out", tmp_path / "sr.tif")
    with rasterio.open(tmp_path / "sr.tif") as tif, BandReader(open_product(tiny.products[0])) as reader:
        box = tif.read(8).reshape(120, 2, 120, 2).mean((1, 3))
        measured = reader.dn(tif.descriptions[7]).astype(float)
    assert np.corrcoef(box.ravel(), measured.ravel())[0, 1] > 0.95
    assert abs(box.mean() / measured.mean() - 1) < 0.1


def test_nodata_stays_where_it_was(run_dir: Path, tiny: TinyWorld, tmp_path: Path) -> None:
    from data_prep.synthetic import Scene, landscape, write_product

    dn = {name: values.copy() for name, values in landscape(240, 5).dn.items()}
    dn["B05"][10:13, 20:22] = 0
    dn["B02"][100, 100] = 0
    holed = write_product(tmp_path / "p", Scene(dn), tile="33UUB")
    cli("infer", run_dir, holed, "--out", tmp_path / "sr.tif")
    with rasterio.open(tmp_path / "sr.tif") as tif:
        bands = dict(zip(tif.descriptions, tif.read(), strict=True))
    expected = np.zeros((240, 240), bool)
    expected[20:26, 40:44] = True
    assert np.array_equal(bands["B05"] == 0, expected)
    assert np.argwhere(bands["B02"] == 0).tolist() == [[100, 100]]
    assert not (bands["B06"] == 0).any()
