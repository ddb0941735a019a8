"""Networks with a reference: trained against two critics, scored with useless references, used on two dates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import rasterio
import torch
from made_networks import saved, trained
from made_store import made_recipe, made_store, train_lines
from support import run_cli

from data_prep.synthetic import landscape, write_product
from hpc_sr.export.graphs import capture
from hpc_sr.models.options import parse_model
from hpc_sr.tasks import task_by_name
from hpc_sr.weights.trained import load_trained

MODEL = {"family": "rrsgan", "width": 8, "blocks": 1, "gradient_width": 4, "groups": 2}
CRITIC = {"family": "vgg", "width": 16, "stages": 3, "hidden": 8, "norm": "none", "bias": "first"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_store(tmp_path_factory.mktemp("store"), task_by_name("refsr_x4"), 32, rows=16, held_out=4)


@pytest.fixture(scope="module")
def run(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the published objective: content and gradients alone for two updates, then both critics."""
    objective = {
        "method": "adversarial",
        "loss": "vanilla",
        "gradients": 1.0,
        "content_samples": 16,
        "critic": CRITIC,
        "gradient_critic": CRITIC,
    }
    folder = tmp_path_factory.mktemp("run") / "rrsgan"
    lines = train_lines(made_recipe(folder, store, MODEL, 32, objective=objective))
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    parts = {"adversarial", "gradient_adversarial", "critic_loss", "gradient_critic_loss"}
    assert all("gradients" in line for line in lines)
    assert [parts & set(line) for line in lines] == [set(), set(), parts, parts]
    return folder


def test_a_run_is_scored_on_its_store(run: Path, store: Path) -> None:
    assert not run_cli("evaluate", run, "--store", store)
    (report,) = (run / "evaluate").glob("*.json")
    assert "rrsgan" in report.read_text()


def test_useless_references_are_scored_beside_a_network_without(run: Path, store: Path, tmp_path: Path) -> None:
    alone = parse_model({"family": "srresnet", "width": 8, "blocks": 1}, "a test")
    saved(tmp_path / "alone", trained(task_by_name("sisr_x4"), 32, alone, units="8 bit", degradation="wald", level=""))
    tables = {}
    for kind in ("own", "zeros", "other"):
        told = tmp_path / f"{kind}.json"
        words = ["--table", "sisr", run, tmp_path / "alone", "--store", store, "--reference", kind, "--json", told]
        assert not run_cli("evaluate", *words, "--out", tmp_path / kind)
        tables[kind] = {table["task"]: table for table in json.loads(told.read_text())}
    rows = {kind: {row["name"]: row for row in table["refsr_x4"]["rows"]} for kind, table in tables.items()}
    assert rows["own"]["bicubic"] == rows["zeros"]["bicubic"]
    assert len({row["rrsgan"]["psnr"] for row in rows.values()}) == 3, "what the reference is, the network sees"
    assert [row["name"] for row in tables["zeros"]["sisr_x4"]["rows"]] == ["bicubic", "alone"]
    assert "References: zeros." in tables["zeros"]["refsr_x4"]["protocol"]
    assert not any("References" in line for line in tables["zeros"]["sisr_x4"]["protocol"])


def test_a_graph_computes_what_the_network_does_for_any_size(run: Path) -> None:
    generator = load_trained(run).generator.eval()
    graph = capture(generator).module()
    inputs = 255 * torch.rand(1, 3, 11, 4), 255 * torch.rand(1, 3, 44, 16)
    with torch.inference_mode():
        torch.testing.assert_close(graph(*inputs), *generator.estimate(*inputs), rtol=0, atol=1e-2)


def test_references_are_asked_for_where_there_are_some(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("evaluate", "--table", "sisr", run, "--image", tmp_path) == 2
    assert "have no references, which task refsr_x4 needs" in capsys.readouterr().err
    assert run_cli("evaluate", run, "--reference", "zeros") == 2
    assert "--reference: is for --table sisr with --store" in capsys.readouterr().err


def test_two_dates_become_a_store_a_run_and_a_finer_picture(tmp_path: Path) -> None:
    products = tmp_path / "products"
    for tile, seeds in (("33UUB", (1, 2)), ("32TQM", (3, 4))):
        for seed, date in zip(seeds, ("2023-06-15", "2023-07-15"), strict=True):
            write_product(products, landscape(120, seed), tile=tile, date=date)
    recipe = tmp_path / "dates.yaml"
    recipe.write_text(f"""
name: dates
task: refsr_x4_rgbn
store: {tmp_path}/store
images:
  products: ["{products}/*.SAFE"]
  references: ["{products}/*.SAFE"]
  bands: [B04, B03, B02, B08]
  patch_px: 32
  split: {{validation: [32TQM]}}
model: {json.dumps(MODEL)}
objective: {{gradients: 1.0, best_by: psnr}}
schedule: {{total_samples: 16, lr_scaling: none}}
train: {{batch_size_per_rank: 8, runs: {tmp_path}/runs}}
""")
    assert not run_cli("prepare", recipe) and not run_cli("train", recipe)
    first, second = sorted(products.glob("*33UUB*.SAFE"))
    out, run = tmp_path / "finer.tif", tmp_path / "runs" / "dates"
    # The product stands for one of 40 m here: its result has 2.5 m, and the reference is enlarged.
    assert not run_cli("infer", run, first, "--reference", second, "--out", out, "--precision", "fp32")
    with rasterio.open(out) as image:
        assert (image.height, image.width, image.count, image.res) == (480, 480, 4, (2.5, 2.5))
    assert run_cli("infer", run, first, "--out", tmp_path / "none.tif") == 2
