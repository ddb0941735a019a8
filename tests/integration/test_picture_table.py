"""From published weights to a table, a finer picture and an exported folder: the commands, one after the other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from made_networks import saved, trained
from made_store import made_store
from safetensors.torch import save_file
from support import run_cli

from hpc_sr.evaluate.metrics.niqe import FEATURES, NiqeModel
from hpc_sr.models.options import parse_model
from hpc_sr.tasks import task_by_name
from hpc_sr.weights.trained import load_trained

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def picture(path: Path, height: int, width: int, dtype: str = "uint8") -> Path:
    values = np.random.default_rng(height).integers(1, 250, (3, height, width)).astype(dtype)
    shape = {"count": 3, "height": height, "width": width, "dtype": dtype}
    with rasterio.open(path, "w", driver="PNG", **shape) as image:
        image.write(values)
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small network as others keep them, imported; a run of another family and scale; three pictures."""
    folder = tmp_path_factory.mktemp("table")
    torch.manual_seed(3)
    tensors = {"conv1.weight": torch.randn(8, 1, 9, 9) / 81, "conv1.bias": torch.zeros(8)}
    tensors |= {"conv2.weight": torch.randn(4, 8, 1, 1) / 8, "conv2.bias": torch.zeros(4)}
    tensors |= {"conv3.weight": torch.randn(1, 4, 5, 5) / 25, "conv3.bias": torch.full((1,), 0.5)}
    save_file(tensors, folder / "theirs.safetensors")
    words = ("import-weights", folder / "theirs.safetensors", "srcnn", "--task", "sisr_x2", "--out", folder / "srcnn")
    assert not run_cli(*words)
    options = parse_model({"family": "srresnet", "width": 8, "blocks": 1}, "a test")
    saved(folder / "srresnet", trained(task_by_name("sisr_x4"), 32, options, units="8 bit", degradation="bicubic"))
    (folder / "pictures").mkdir()
    for height, width in ((50, 41), (48, 40), (61, 52)):
        picture(folder / "pictures" / f"{height}.png", height, width)
    return folder


def test_a_table_of_runs_of_any_scale(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = tmp_path / "told.json"
    words = ["evaluate", "--table", "sisr", world / "srcnn", world / "srresnet", "--image", world / "pictures"]
    assert not run_cli(*words, "--out", tmp_path / "out", "--json", told, "--precision", "fp32")
    files = {f"sisr.{kind}" for kind in ("md", "csv", "tex", "html")} | {"sisr_x2.png", "sisr_x4.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == files
    two, four = json.loads(told.read_text())
    assert (two["task"], four["task"]) == ("sisr_x2", "sisr_x4")
    assert [[row["name"] for row in table["rows"]] for table in (two, four)] == [
        ["bicubic", "srcnn"],
        ["bicubic", "srresnet"],
    ]
    assert "3 pictures; low resolution by bicubic" in two["protocol"][0] and "fp32" in two["protocol"][2]
    bicubic, ours = two["rows"]
    # Three layers on the enlargement: 9 x 9 of 1 to 8 channels, 8 to 4, 5 x 5 of 4 to 1, for each pixel.
    assert ours["multiply_adds"] == pytest.approx((81 * 8 + 32 + 25 * 4) / 1e3) and ours["milliseconds"] > 0
    assert ours["parameters"] == pytest.approx((81 * 8 + 8 + 32 + 4 + 100 + 1) / 1e3)
    assert bicubic["psnr"] > four["rows"][0]["psnr"] and bicubic["psnr_y"] > ours["psnr_y"]
    assert "published" in capsys.readouterr().out


def test_a_store_is_scored_patch_by_patch(world: Path, tmp_path: Path) -> None:
    store, told = (
        made_store(tmp_path / "store", task_by_name("sisr_x2"), 32, rows=4, held_out=3),
        tmp_path / "told.json",
    )
    words = ["evaluate", "--table", "sisr", world / "srcnn", "--store", store, "--out", tmp_path, "--json", told]
    assert not run_cli(*words)
    (table,) = json.loads(told.read_text())
    assert "3 patches of the store's held-out split" in table["protocol"][0]
    assert table["rows"][0]["psnr"] > table["rows"][1]["psnr"]


def test_scores_of_ma_make_the_perceptual_index(world: Path, tmp_path: Path) -> None:
    """The mean over pictures of ((10 - Ma) + NIQE) / 2; bicubic has none if nobody scored it."""
    (tmp_path / "pictures").mkdir()
    for side in (200, 204):
        picture(tmp_path / "pictures" / f"{side}.png", side, side)
    NiqeModel(np.zeros(FEATURES), np.eye(FEATURES), white=255.0).save(tmp_path / "good.npz")
    (tmp_path / "ma.csv").write_text("method,picture,score\nsrcnn,200,7\nsrcnn,204,4\n")
    words = [
        "evaluate",
        "--table",
        "sisr",
        world / "srcnn",
        "--image",
        tmp_path / "pictures",
        "--out",
        tmp_path / "out",
    ]
    words += ["--niqe", tmp_path / "good.npz", "--json", tmp_path / "told.json", "--precision", "fp32"]
    assert not run_cli(*words, "--ma", tmp_path / "ma.csv")
    ((bicubic, ours),) = (table["rows"] for table in json.loads((tmp_path / "told.json").read_text()))
    assert ours["pi"] == pytest.approx((10 - 5.5 + ours["niqe"]) / 2) and bicubic["pi"] is None
    table = (tmp_path / "out" / "sisr.md").read_text()
    assert "PI ↓" in table and "PI is ((10 - Ma) + NIQE) / 2" in table and "PI needs" not in table


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "no run to stand in the table"),
        (["{world}/srcnn"], "there must be pictures or a store"),
        (["{world}/srcnn", "{world}/srcnn", "--image", "{tmp}/wide.png"], "two runs have the same name"),
        (["{world}/srcnn", "--image", "{tmp}/none.png"], "matches no image"),
        (["{world}/srcnn", "--image", "{tmp}/wide.png"], "has 65535 as white, srcnn was trained on 255"),
        (["{world}/srcnn", "--image", "{tmp}/wide.png", "--ma", "{tmp}/ma.csv"], "is for --table sisr with --niqe"),
        (
            ["{world}/srcnn", "--image", "{world}/pictures", "--ma", "{tmp}/ma.csv", "--niqe", "{tmp}/good.npz"],
            "no score of 2 of 3 pictures by method: srcnn, 50; srcnn, 61",
        ),
    ],
)
def test_what_cannot_be_tabulated_is_told(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    picture(tmp_path / "wide.png", 20, 20, "uint16")
    NiqeModel(np.zeros(FEATURES), np.eye(FEATURES), white=255.0).save(tmp_path / "good.npz")
    (tmp_path / "ma.csv").write_text("method,picture,score\nsrcnn,48,7\nbicubic,61,7\n")
    given = [word.format(world=world, tmp=tmp_path) for word in words]
    assert run_cli("evaluate", "--table", "sisr", *given, "--out", tmp_path / "out") == 2
    assert told in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_pictures_are_for_the_table_of_pictures(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("evaluate", world / "srcnn", "--image", world / "pictures") == 2
    assert "--image: is for --table sisr" in capsys.readouterr().err
    assert run_cli("evaluate", "--table", "adversarial", world / "srcnn", "--out", world / "none") == 2
    assert "is a network of pictures" in (told := capsys.readouterr().err) and "--table sisr" in told


def test_imported_weights_make_pictures_and_exports(world: Path, tmp_path: Path) -> None:
    out, source = tmp_path / "finer.png", world / "pictures" / "61.png"
    assert not run_cli("infer", world / "srcnn", "--image", source, "--out", out, "--precision", "fp32")
    with rasterio.open(out) as image:
        assert (image.height, image.width, image.count) == (122, 104, 3)
    words = ("export", world / "srcnn", "--out", tmp_path / "exported", "--format", "safetensors")
    assert not run_cli(*words)
    exported, imported = (
        load_trained(path).generator.state_dict() for path in (tmp_path / "exported", world / "srcnn")
    )
    assert all(torch.equal(exported[name], tensor) for name, tensor in imported.items())
