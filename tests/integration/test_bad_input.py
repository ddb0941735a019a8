"""What users get wrong: each names file, value and cure, ends with exit code 2 and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support import TinyWorld, run_cli

from data_prep.synthetic import landscape, write_product


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must end with exit code 2; return what it printed on standard error."""
    code = run_cli(*arguments)
    told = capsys.readouterr().err
    assert code == 2, told
    assert "Traceback" not in told
    return told


@pytest.fixture
def product(tiny: TinyWorld, tmp_path: Path) -> Path:
    """A copy of a product to break."""
    return Path(shutil.copytree(tiny.products[0], tmp_path / "products" / tiny.products[0].name))


def band(product: Path, name: str) -> Path:
    return next(product.glob(f"GRANULE/*/IMG_DATA/*_{name}.jp2"))


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replace_in_metadata(product: Path, old: str, new: str) -> None:
    replace_text(product / "MTD_MSIL1C.xml", old, new)


def replace_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


BROKEN: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "missing band": (lambda p: band(p, "B05").unlink(), ["B05.jp2", "is missing", "cure"]),
    "truncated band": (lambda p: halve(band(p, "B11")), ["B11.jp2", "cure"]),
    "empty band": (lambda p: os.truncate(band(p, "B02"), 0), ["B02.jp2", "cure"]),
    "broken XML": (lambda p: os.truncate(p / "MTD_MSIL1C.xml", 700), ["MTD_MSIL1C.xml", "cannot be parsed", "cure"]),
    "no XML": (lambda p: (p / "MTD_MSIL1C.xml").unlink(), [".SAFE", "MTD_MSIL1C.xml", "cure"]),
    "unknown satellite": (
        lambda p: replace_in_metadata(p, "Sentinel-2A", "Sentinel-2X"),
        ["MTD_MSIL1C.xml", "Sentinel-2X", "S2C"],
    ),
    "unknown level": (lambda p: replace_in_metadata(p, "Level-1C</PROC", "Level-1B</PROC"), ["Level-1B", "Level-2A"]),
    "band not announced": (lambda p: replace_in_metadata(p, "_B8A<", "_B99<"), ["B8A", "needs all its bands"]),
    "quantification that is none": (
        lambda p: replace_in_metadata(p, ">10000<", ">ten<"),
        ["QUANTIFICATION_VALUE", "ten"],
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_product_is_refused(
    tiny: TinyWorld, product: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    damage, expected = BROKEN[kind]
    damage(product)
    store = tmp_path / "store"
    told = fails(capsys, "prepare", tiny.recipe, f"prepare.products=[{product}]", f"store={store}", "prepare.split={}")
    for part in expected:
        assert part in told
    assert not [path for path in store.rglob("*") if path.is_file()]


def test_mixed_levels_are_refused(tiny: TinyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    l2a = write_product(tmp_path, landscape(120, 3), tile="31TCJ", level="L2A")
    both = f"prepare.products=[{tiny.products[0]}, {l2a}]"
    told = fails(capsys, "prepare", tiny.recipe, both, "prepare.split={}", f"store={tmp_path / 'store'}")
    assert l2a.stem in told and "L2A" in told and "L1C" in told and "cure" in told


def test_a_pattern_without_products_is_named(tiny: TinyWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing/*.SAFE" in fails(capsys, "prepare", tiny.recipe, "prepare.products=[nothing/*.SAFE]")


def test_a_store_of_the_other_degradation_is_refused(tiny: TinyWorld, capsys: pytest.CaptureFixture[str]) -> None:
    told = fails(capsys, "train", tiny.recipe, "prepare.degradation=mtf", "name=other")
    assert "'wald'" in told and "'mtf'" in told and str(tiny.store) in told and "cure" in told


def test_a_damaged_store_is_refused(tiny: TinyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Path(shutil.copytree(tiny.store, tmp_path / "store"))
    manifest = store / "manifest.json"
    whole = manifest.read_text()
    content = json.loads(whole)
    content["splits"]["train"][0]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(content))
    assert "manifest.json" in fails(capsys, "train", tiny.recipe, f"store={store}", "name=a")
    manifest.write_text(whole)
    shard = store / content["splits"]["train"][0]["file"]
    values = bytearray(shard.read_bytes())
    values[-100] ^= 1
    shard.write_bytes(values)
    told = fails(capsys, "train", tiny.recipe, f"store={store}", "name=b")
    assert shard.name in told and "sha256" in told and "cure" in told


@pytest.mark.parametrize("override", ["train.seed=one", "model.family=unet", "trian.seed=1", "train.precision=fp8"])
def test_a_wrong_recipe_is_refused(tiny: TinyWorld, capsys: pytest.CaptureFixture[str], override: str) -> None:
    told = fails(capsys, "train", tiny.recipe, override)
    assert override.split(".")[0] in told and "cure" in told


def test_a_checkpoint_of_another_model_is_refused(tiny: TinyWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert not run_cli("train", tiny.recipe, "name=first", "schedule.total_samples=80")
    told = fails(capsys, "train", tiny.recipe, "name=first", "model.width=32")
    assert "model.width is 16, the recipe says 32" in told and "cure" in told
    runs = tiny.recipe.parent / "runs" / "first"
    (checkpoint,) = (runs / "checkpoints").glob("step_00000005")
    generator = checkpoint / "generator.pt"
    os.truncate(generator, generator.stat().st_size // 2)
    told = fails(capsys, "infer", runs, tiny.products[0], "--out", runs / "x.tif")
    assert "generator.pt" in told and "cure" in told
    assert not list(runs.glob("*.tif*"))


def test_an_output_that_cannot_be_written_is_refused_first(
    tiny: TinyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = fails(capsys, "infer", "no-run", tiny.products[0], "--out", tmp_path / "absent" / "x.tif")
    assert "absent/x.tif" in told and "cure" in told
    for name, source in (("x.png", "--product"), ("x.json", "--stack"), ("x.jp2", "--stack")):
        told = fails(capsys, "infer", "no-run", source, tiny.products[0], "--out", tmp_path / name)
        assert f"{name}: is no GeoTIFF by its name" in told and "without a suffix it is a folder" in told
    told = fails(capsys, "evaluate", "no-run", "--json", tmp_path)
    assert str(tmp_path) in told
    (tmp_path / "file").write_text("")
    told = fails(capsys, "train", tiny.recipe, f"train.runs={tmp_path / 'file'}")
    assert str(tmp_path / "file") in told and "cure" in told
    told = fails(capsys, "prepare", tiny.recipe, f"store={tmp_path / 'file' / 'store'}")
    assert "store" in told and "cure" in told


def test_a_folder_without_a_checkpoint_is_named(
    tiny: TinyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = fails(capsys, "infer", tmp_path, tiny.products[0], "--out", tmp_path / "x.tif")
    assert str(tmp_path) in told and "holds no checkpoint" in told


def test_a_model_of_the_other_level_is_refused(
    tiny: TinyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    l2a = write_product(tmp_path / "p", landscape(120, 3), tile="31TCJ", level="L2A")
    run = tiny.recipe.parent / "runs" / "levels"
    assert not run_cli("train", tiny.recipe, "name=levels", "schedule.total_samples=80")
    for command in (["infer", run, l2a, "--out", tmp_path / "x.tif"], ["evaluate", run, "--product", l2a]):
        told = fails(capsys, *command)
        assert "is L2A, the model was trained on L1C" in told and "cure" in told
    assert not (tmp_path / "x.tif").exists()
