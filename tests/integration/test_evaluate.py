"""What `hpc-sr evaluate` takes and writes: methods alone, truths, other people's images, tables, pages."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import Affine
from support import TinyWorld, run_cli

from data_prep.synthetic import Scene, landscape, write_product
from hpc_sr.classical.methods import BASELINES
from hpc_sr.evaluate.methods import Field, Method, baseline_method
from hpc_sr.evaluate.metrics.niqe import fit
from hpc_sr.evaluate.protocols.scenes import Lineup, native_field
from hpc_sr.infer.windows import Area
from hpc_sr.sentinel2.rasters import affine
from hpc_sr.sentinel2.safe import BandReader, open_product
from hpc_sr.tasks import BANDS_20M, S2X


def cli(*arguments: object) -> None:
    """Run a command that must end well."""
    assert not run_cli(*arguments)


@pytest.fixture(scope="module")
def run_dir(tiny: TinyWorld) -> Path:
    """A trained run of the tiny recipe."""
    cli("train", tiny.recipe, "name=evaluated")
    return tiny.recipe.parent / "runs" / "evaluated"


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_product(tmp_path_factory.mktemp("l2a"), landscape(480, 6), level="L2A", tile="31TCJ")


def write_truth(path: Path, product: Path, row: int, column: int, size: int, shift_m: float = 0.0) -> Path:
    """Write the 20 m bands, each pixel repeated, as an image of 10 m of a part of the product."""
    with BandReader(open_product(product)) as reader:
        grid = reader.product.grids[10]
        planes = [reader.reflectance(band)[0].repeat(2, 0).repeat(2, 1) for band in BANDS_20M]
    values = np.stack(planes)[:, row : row + size, column : column + size].astype(np.float32)
    transform = affine(grid) @ Affine.translation(column + shift_m / 10, row)
    with rasterio.open(
        path, "w", driver="GTiff", dtype="float32", count=6, height=size, width=size, crs=grid.crs, transform=transform
    ) as file:
        file.write(values)
        file.descriptions = BANDS_20M
    return path


def read(folder: Path, protocol: str) -> dict:
    return json.loads((folder / "evaluate" / f"{protocol}.json").read_text())


def test_methods_alone_are_scored_by_classes_of_the_ground(product: Path, tmp_path: Path) -> None:
    cli("evaluate", "--method", "all", "--protocol", "both", "--product", product, "--out", tmp_path)
    for protocol in ("synthesis", "consistency"):
        evaluation = read(tmp_path, protocol)
        assert evaluation["model"] is None and evaluation["compared"] == "bicubic" and evaluation["level"] == "L2A"
        (scene,) = evaluation["scenes"]
        assert list(scene["methods"]) == ["nearest", "bilinear", "bicubic", "guided", "atprk", "supreme"]
        for scores in scene["methods"].values():
            classes = scores["classes"]
            assert len(classes) > 1
            assert sum(found["pixels"] for found in classes.values()) == pytest.approx(scores["pixels"], rel=0.02)
            squared = sum(found["pixels"] * found["total"]["rmse"] ** 2 for found in classes.values())
            counted = sum(found["pixels"] for found in classes.values())
            assert (squared / counted) ** 0.5 == pytest.approx(scores["total"]["rmse"], rel=0.05)
    # 20 m pixels repeated and averaged again are what they were, in this law nearly so.
    assert evaluation["mean"]["guided"]["total"]["rmse"] < evaluation["mean"]["bicubic"]["total"]["rmse"]
    cli("report", tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "vegetation" in page and "supreme" in page


def test_a_truth_on_a_part_of_the_grid_is_found_there(product: Path, tmp_path: Path) -> None:
    """The truth is the nearest neighbour of the bands, so that method alone has no error, if all lies in place."""
    truth = write_truth(tmp_path / "truth.tif", product, row=31, column=57, size=160)
    arguments = ["evaluate", "--product", product, "--method", "nearest", "--out", tmp_path, "--unit", "reflectance"]
    cli(*arguments, "--truth", truth)
    evaluation = read(tmp_path, "truth")
    assert evaluation["scenes"][0]["size_px"] == [160, 160]
    nearest, bicubic = (evaluation["mean"][name]["total"]["rmse"] for name in ("nearest", "bicubic"))
    assert nearest < 1e-3 and bicubic > 1
    assert evaluation["scenes"][0]["methods"]["bicubic"]["classes"]
    cli("report", tmp_path)
    mask = np.zeros((160, 160), np.uint8)
    mask[8:20, 30:37] = 1
    np.save(tmp_path / "mask.npy", mask)
    cli(*arguments, "--truth", truth, "--mask", tmp_path / "mask.npy")
    masked = read(tmp_path, "truth")["scenes"][0]
    assert masked["methods"]["nearest"]["pixels"] == 84 and masked["provenance"]["mask"] == "mask.npy"
    cli(*arguments[:-1], "dn", "--truth", truth)  # what the numbers mean has changed, so it is scored again
    assert read(tmp_path, "truth")["mean"]["nearest"]["total"]["rmse"] > 100
    cli(*arguments[:-1], "dn", "--truth", truth, "--truth-unit", "reflectance")
    assert read(tmp_path, "truth")["mean"]["nearest"]["total"]["rmse"] == nearest


def test_products_of_one_name_are_refused_and_one_given_twice_is_scored_once(
    product: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    cli("evaluate", "--product", product, product, "--out", tmp_path)
    assert len(read(tmp_path, "synthesis")["scenes"]) == 1
    other = tmp_path / product.name
    shutil.copytree(product, other)
    assert run_cli("evaluate", "--product", product, other, "--out", tmp_path) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert str(product) in told and str(other) in told


@pytest.mark.parametrize("harm", ["metadata", "band", "unexpected"])
def test_a_product_that_fails_does_not_end_the_others(
    product: Path, tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    other = write_product(tmp_path / "other", landscape(240, 7), level="L2A", tile="32TQM")
    if harm == "metadata":
        (other / "MTD_MSIL2A.xml").write_text("<torn")
    elif harm == "band":
        band = next(other.rglob("*_B05_20m.jp2"))
        band.write_bytes(band.read_bytes()[:2000])
    else:
        fine = baseline_method

        def unexpected(name: str, field: Field) -> Method:
            if field.height * 2 == 240:
                raise ZeroDivisionError("nobody has thought of it")
            return fine(name, field)

        monkeypatch.setattr("hpc_sr.evaluate.protocols.scenes.baseline_method", unexpected)
    code = run_cli("evaluate", "--product", other, "--product", product, "--out", tmp_path / "out")
    assert code == 2 and "1 of 2 products could not be scored" in capsys.readouterr().err
    (scene,) = read(tmp_path / "out", "synthesis")["scenes"]
    assert scene["scene"] == product.name.removesuffix(".SAFE")


def test_a_scene_that_the_network_was_trained_on_is_told(run_dir: Path, tiny: TinyWorld, tmp_path: Path) -> None:
    cli("evaluate", run_dir, "--product", *tiny.products)
    assert read(run_dir, "synthesis")["trained_on"] == [
        open_product(path).name for path in tiny.products if "T33UUB" in path.name
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"shift_m": 3.0}, "0.30 px off"), ({"row": 400}, "reaches beyond")],
    ids=["between pixels", "outside"],
)
def test_a_truth_elsewhere_is_refused(
    product: Path, tmp_path: Path, capsys: pytest.CaptureFixture, change: dict, message: str
) -> None:
    place = {"row": 31, "column": 57, "size": 60} | change
    if place["row"] == 400:
        truth = write_truth(tmp_path / "truth.tif", product, 0, 0, 60)
        with rasterio.open(truth, "r+") as file:
            file.transform = file.transform @ Affine.translation(0, 450)
    else:
        truth = write_truth(tmp_path / "truth.tif", product, **place)
    assert run_cli("evaluate", "--product", product, "--truth", truth, "--unit", "reflectance") == 2
    assert message in capsys.readouterr().err


def test_what_others_made_is_scored_and_shown(product: Path, tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth.tif", product, 0, 0, 300)
    good = write_truth(tmp_path / "good.tif", product, 0, 0, 300)
    with rasterio.open(truth) as file:
        values = file.read()
    np.save(tmp_path / "noisy.npy", values + np.random.default_rng(0).normal(0, 0.01, values.shape).astype("f4"))
    predictions = [good, tmp_path / "noisy.npy"]
    cli("evaluate", "--prediction", *predictions, "--truth", truth, "--unit", "reflectance", "--out", tmp_path / "o")
    mean = read(tmp_path / "o", "truth")["mean"]
    assert mean["good"]["total"]["rmse"] == 0
    assert mean["noisy"]["total"]["rmse"] == pytest.approx(100, rel=0.02)  # 0.01 in reflectance x 10 000
    cli("report", tmp_path / "o")


def test_the_thesis_tables_hold_a_run_and_what_is_missing(run_dir: Path, tmp_path: Path) -> None:
    cli("evaluate", "--table", "thesis", run_dir, "--out", tmp_path)
    text = (tmp_path / "thesis.md").read_text()
    assert "34.99" in text and "evaluated" in text and "no L2A run" in text
    rows = list(csv.DictReader((tmp_path / "thesis.csv").open()))
    ours = [row for row in rows if "evaluated" in row["method"] and row["ours"]]
    wanted = read(run_dir, "synthesis")["mean"]["s2x"]["total"]["rmse"]
    assert any(float(row["ours"]) == pytest.approx(wanted, abs=0.01) for row in ours)
    assert {path.suffix for path in tmp_path.iterdir()} == {".md", ".csv", ".tex", ".html"}


def test_the_adversarial_tables_score_runs_together_as_trained_and_back_projected(
    run_dir: Path, tiny: TinyWorld, tmp_path: Path
) -> None:
    critic = ["objective.critic.family=s2d_light", "objective.critic.width=16", "schedule.total_samples=64"]
    objective = ["objective.method=adversarial", "objective.loss=hinge", f"objective.start_from={run_dir}"]
    cli("train", tiny.recipe, "name=sharper", *objective, *critic)
    command = ["evaluate", "--table", "adversarial", run_dir, run_dir.with_name("sharper"), "--out", tmp_path]
    cli(*command)
    names = ["s2x evaluated", "s2x evaluated, back-projected", "s2x sharper", "s2x sharper, back-projected"]
    mean = {protocol: read(tmp_path, protocol)["mean"] for protocol in ("synthesis", "consistency")}
    assert list(mean["synthesis"]) == list(mean["consistency"]) == ["bicubic", *names]
    for own, projected in (names[:2], names[2:]):
        kept, lost = (mean["consistency"][name]["total"]["rmse"] for name in (projected, own))
        assert kept < 0.01 * lost, "degraded again, it is what was measured, but for the image's border"
        assert mean["synthesis"][own]["total"]["rmse"] != mean["synthesis"][projected]["total"]["rmse"]
    page = (tmp_path / "adversarial.html").read_text()
    assert "Where runs err most" in page and "sharper (hinge)" in page
    scored = {path: path.stat().st_mtime_ns for path in (tmp_path / "evaluate" / "scenes").iterdir()}
    cli(*command)
    assert {path: path.stat().st_mtime_ns for path in scored} == scored, "what is scored is not scored again"


def test_niqe_stands_in_the_tables_once_a_model_is_given(
    run_dir: Path, tmp_path: Path, shared_data: Path, tiny: TinyWorld
) -> None:
    scenes = (np.load(path)["d10"].astype(np.float32) for path in (shared_data / "scenes").glob("l1c_*.npz"))
    bands = [torch.from_numpy(scene[..., band]) for scene in scenes for band in range(4)]
    fit(bands, white=10_000.0).save(tmp_path / "good.npz")
    large = write_product(tmp_path, landscape(780, 3), tile="32TQN")
    cli("evaluate", run_dir, "--product", large, "--niqe", tmp_path / "good.npz")
    evaluation = read(run_dir, "synthesis")
    assert all(mean["total"]["niqe"] > 0 for mean in evaluation["mean"].values())
    cli("evaluate", run_dir, "--product", large)
    assert "niqe" not in read(run_dir, "synthesis")["mean"]["s2x"]["total"]


def test_several_runs_are_compared_on_a_page(run_dir: Path, tiny: TinyWorld, tmp_path: Path) -> None:
    cli("train", tiny.recipe, "name=evaluated_too", "train.seed=5")
    runs = [run_dir, run_dir.with_name("evaluated_too")]
    cli("evaluate", *runs)
    cli("report", *runs, "--out", tmp_path / "both.html")
    page = (tmp_path / "both.html").read_text()
    assert "evaluated_too" in page and "data:image" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to score"),
        (["--prediction", "x.tif"], "nothing to compare with"),
        (["--table", "thesis"], "no run"),
        (["--table", "adversarial"], "no run"),
        (["--method", "lanczos", "--product", "x.SAFE"], "'lanczos'"),
        (["--product", "x.SAFE", "--store", "y"], "both --product and --store"),
        (["--product", "x.SAFE", "--mask", "m.tif"], "no truth"),
    ],
)
def test_what_makes_no_sense_is_told(arguments: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert run_cli("evaluate", *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_scene_without_a_measurement_has_no_numbers_but_a_table(tmp_path: Path, run_dir: Path) -> None:
    scene = landscape(240, 8)
    empty = Scene({name: np.zeros_like(values) for name, values in scene.dn.items()})
    product = write_product(tmp_path, empty, tile="32TQN")
    cli("evaluate", run_dir, "--product", product, "--protocol", "both", "--method", "all")
    for protocol in ("synthesis", "consistency"):
        evaluation = read(run_dir, protocol)
        assert evaluation["scenes"][0]["methods"]["s2x"]["pixels"] == 0
        assert all(value is None for value in evaluation["mean"]["s2x"]["total"].values())
    cli("report", run_dir)


def test_a_hole_looks_the_same_from_every_window(tmp_path: Path) -> None:
    dn = dict(landscape(480, 9).dn)
    dn["B05"] = dn["B05"].copy()
    dn["B05"][60:130, 90:200] = 0
    product = open_product(write_product(tmp_path, Scene(dn), tile="33UUB"))
    lineup = Lineup(S2X, "wald", BASELINES)
    with BandReader(product) as reader:
        field = native_field(reader, lineup)
        for name in ("bicubic", "guided"):
            method = baseline_method(name, field)
            whole = method(Area(0, 0, 480, 480))
            for area in (Area(100, 160, 90, 130), Area(250, 10, 40, 420)):
                np.testing.assert_allclose(method(area), whole[(slice(None), *area.slices)], rtol=0, atol=2e-2)
