"""The card: its snippets run without this package, its history is the run's, its scores are of this very network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from markdown_it import MarkdownIt
from support import TinyWorld, run_cli
from typer.testing import CliRunner

from hpc_sr.cli.export import export
from hpc_sr.export.card import as_markdown, describe
from hpc_sr.export.folder import Export, write_export
from hpc_sr.export.provenance import provenance_of
from hpc_sr.models.facts import Facts
from hpc_sr.sentinel2.degrade import kernel
from hpc_sr.tasks import REFLECTANCE
from hpc_sr.weights.trained import load_trained

Make = Callable[..., Export]


@pytest.fixture(scope="module")
def run_dir(tiny: TinyWorld) -> Path:
    """A trained run of the tiny recipe."""
    assert not run_cli("train", tiny.recipe, "name=exported", "schedule.total_samples=160")
    return tiny.recipe.parent / "runs" / "exported"


@pytest.fixture(scope="module")
def folder(run_dir: Path) -> Path:
    app = typer.Typer()
    app.command()(export)
    done = CliRunner().invoke(app, [str(run_dir)], catch_exceptions=False)
    assert done.exit_code == 0 and done.stdout.splitlines()[-1] == str(run_dir / "export")
    return run_dir / "export"


def test_the_snippets_of_the_card_run_as_they_stand(folder: Path) -> None:
    run_snippets(folder, "assert tuple(target.shape) == (1, 6, 32, 32) and 0 < abs(target).max() < 9000\n")


def test_the_snippets_of_several_targets_run_as_they_stand(small_model: Make, tmp_path: Path) -> None:
    out = write_export(small_model("dsen2", "s26x", 12), tmp_path / "out", None)
    run_snippets(out, "assert (target20.shape[1], target60.shape[1]) == (6, 2) and target20.shape[2:] == (24, 24)\n")


def run_snippets(folder: Path, check: str) -> None:
    snippets = re.findall(r"```python\n(.*?)```", (folder / "model_card.md").read_text(), re.DOTALL)
    assert len(snippets) == 3
    assert all(len(snippet.split("\n")) <= 12 for snippet in snippets)
    assert ["hpc_sr" in snippet for snippet in snippets] == [True, False, False]
    # The last two run where there is no hpc_sr.
    alone = "import sys; sys.modules['hpc_sr'] = None\n" + "".join(snippet + check for snippet in snippets[1:])
    for program in (snippets[0] + check, alone):
        done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_card_tells_how_the_run_was_made(folder: Path, run_dir: Path, tiny: TinyWorld) -> None:
    card = json.loads((folder / "card.json").read_text())
    recorded = json.loads((run_dir / "environment.json").read_text())
    training = card["training"]
    assert card["name"] == "exported"
    assert training["environment"]["git_commit"] == recorded["git_commit"]
    assert training["environment"]["packages"] == recorded["packages"]
    assert training["recipe"]["optimizer"]["base_lr"] == 1e-3
    assert {line["tile"] for line in training["data"]["products"]} == {"33UUB", "32TQM"}
    assert all(line["sensing_time"].startswith("20") for line in training["data"]["products"])
    for name in ("card.json", "model_card.md"):
        text = (folder / name).read_text()
        assert str(tiny.recipe.parent) not in text and str(Path.cwd()) not in text
        assert "33UUB" in text


def test_the_run_and_its_export_are_the_same_to_infer_and_evaluate(
    folder: Path, run_dir: Path, tiny: TinyWorld
) -> None:
    product, made = tiny.products[1], {}
    for name, source in (("run", run_dir), ("export", folder)):
        tif, scores = run_dir.parent / f"{name}.tif", run_dir.parent / f"{name}.json"
        assert not run_cli("infer", source, product, "--out", tif)
        assert not run_cli("evaluate", source, "--product", product, "--json", scores)
        evaluation = json.loads(scores.read_text())
        evaluation = evaluation.get("synthesis", evaluation)
        made[name] = tif.read_bytes(), evaluation["mean"], evaluation["model"]
    assert made["run"] == made["export"]
    # What was evaluated is on the card of the next export.
    card = load_trained(run_dir).card
    scores = provenance_of(run_dir, card)["scores"]["synthesis"]
    assert scores["methods"]["s2x"]["total"]["rmse"] == made["run"][1]["s2x"]["total"]["rmse"]
    assert scores["methods"]["bicubic"]["rmse_of_bands"]["B12"] == made["run"][1]["bicubic"]["bands"]["B12"]["rmse"]


def _evaluation(step: int) -> dict:
    mean = {"s2x": {"total": {"rmse": 30.0, "sre": None}, "bands": {"B05": {"rmse": 29.0}}}}
    return {"protocol": "synthesis", "model": {"step": step}, "scenes": [{"scene": "there"}], "mean": mean}


@pytest.mark.parametrize(
    ("content", "kept", "warned"),
    [
        (json.dumps(_evaluation(7)), True, ""),
        (json.dumps(_evaluation(6)), False, "is of step 6, exported is 7"),
        (json.dumps({**_evaluation(7), "model": None}), False, ""),  # no network took part
        (json.dumps({**_evaluation(7), "mean": [1]}), False, "is no evaluation"),
        ("{", False, "cannot be understood"),
        ("[]", False, "holds a list"),
    ],
)
def test_only_scores_of_this_very_network_are_told(
    content: str, kept: bool, warned: str, small_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("hpc_sr.logs.logger.warning", lambda text, *values: said.append(text % values))
    model, run = small_model("dsen2", "s2x", 16), tmp_path / "run"
    (run / "evaluate").mkdir(parents=True)
    (run / "evaluate" / "synthesis.json").write_text(content)
    history = provenance_of(run, model.card)
    assert (history["name"], history["training"]["data"]) == ("run", None)
    assert list(history["scores"]) == (["synthesis"] if kept else [])
    assert len(said) == bool(warned) and all(warned in line for line in said)
    out = write_export(replace(model, provenance=history), tmp_path / "out", ("safetensors",))
    text = (out / "model_card.md").read_text()
    assert ("| s2x | 30 | - |" in text) == kept
    assert ("No evaluation of this network" in text) != kept


def test_the_scores_of_each_target_are_told(small_model: Make, tmp_path: Path) -> None:
    model, run = small_model("dsen2", "s26x", 12), tmp_path / "run"
    (run / "evaluate").mkdir(parents=True)
    for name, rmse in (("synthesis_target20", 30.0), ("synthesis_target60", 47.0)):
        evaluation = _evaluation(7)
        evaluation["mean"]["s26x"] = {"total": {"rmse": rmse, "sre": None}, "bands": {}}
        (run / "evaluate" / f"{name}.json").write_text(json.dumps(evaluation))
    history = provenance_of(run, model.card)
    told = {name: scores["methods"]["s26x"]["total"]["rmse"] for name, scores in history["scores"].items()}
    assert told == {"synthesis_target20": 30.0, "synthesis_target60": 47.0}
    out = write_export(replace(model, provenance=history), tmp_path / "out", ("safetensors",))
    text = (out / "model_card.md").read_text()
    assert "| s26x | 30 | - |" in text and "| s26x | 47 | - |" in text
    assert all(band in text for band in ("B01", "B09", "B12"))


@pytest.mark.parametrize("broken", ["environment.json", "recipe.yaml"])
def test_weights_are_exported_without_a_history_that_is_broken(broken: str, small_model: Make, tmp_path: Path) -> None:
    model, run = small_model("dsen2", "s2x", 16), tmp_path / "run"
    run.mkdir()
    (run / broken).write_text("[1, 2")
    history = provenance_of(run, model.card)
    assert history == {"name": "run", "training": {"recipe": {}, "environment": {}, "data": None}, "scores": {}}


@pytest.mark.parametrize(
    "change", [{"degradation": "mtf"}, {"level": "L2A"}, {"facts": Facts(patch_px=32)}, {"task": "s6x"}], ids=str
)
def test_a_store_of_another_kind_is_not_taken_for_the_training_data(change: dict, run_dir: Path) -> None:
    card = load_trained(run_dir).card
    assert provenance_of(run_dir, card)["training"]["data"] is not None
    assert provenance_of(run_dir, replace(card, **change))["training"]["data"] is None


def test_a_store_is_found_from_where_training_was_started(
    run_dir: Path, tiny: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, started = load_trained(run_dir).card, tmp_path / "started"
    run = started / "runs" / "mine"
    run.mkdir(parents=True)
    (started / "stores").mkdir()
    (started / "stores" / "tiny").symlink_to(tiny.store)
    (run / "recipe.yaml").write_text("name: mine\nstore: stores/tiny\ntrain: {runs: runs}\n")
    monkeypatch.chdir(tmp_path)
    assert provenance_of(run, card)["training"]["data"]["patches"]["train"] > 0


HOSTILE = ["<script>alert(1)</script>", "a|b", "two\nlines", "`code`", "[link](http://x)", "**bold**", "&amp; ![x](y)"]


def test_names_of_products_and_scores_are_text_in_the_card_and_never_markup(small_model: Make) -> None:
    model = small_model("s2x", "s2x", 16)
    products = [{"product": name, "tile": name, "sensing_time": name, "split": name} for name in HOSTILE]
    scores = {"scenes": HOSTILE, "methods": {name: {"total": {"rmse": 1.0}} for name in HOSTILE}}
    named = " ".join(HOSTILE)
    document = {
        **model.card.as_json(),
        **describe(model.generator, model.card),
        "name": named,
        "training": {
            "recipe": {"prepare": {"products": HOSTILE}},
            "environment": {"device": named, "git_commit": named},
            "data": {"patches": {"train": 1}, "products": products},
        },
        "scores": {"synthesis": scores},
        "files": {"model.safetensors": {"largest_difference": 0, "tolerance": 1, "bytes": 1, "sha256": "0"}},
        "not_written": {"onnx": named},
    }
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(as_markdown(document))
    inline = [child for token in tokens for child in token.children or ()]
    assert not [t for t in (*tokens, *inline) if t.type.startswith(("html", "link", "image"))]
    assert len([token for token in tokens if token.type == "fence"]) == 1
    told = [" ".join(name.split()) for name in HOSTILE]
    first = [
        "".join(c.content for c in token.children) for token in tokens if token.type == "inline" and token.children
    ]
    assert first[0].startswith(" ".join(told))
    assert set(told) <= set(first), "a cell each"


@pytest.mark.parametrize("degradation", ["wald", "mtf"])
def test_the_degradation_is_told_in_the_numbers_that_made_the_pairs(
    degradation: str, small_model: Make, tmp_path: Path
) -> None:
    model = small_model("dsen2", "s6x", 12, degradation=degradation)
    out = write_export(model, tmp_path / "out", ("safetensors",))
    sigmas = json.loads((out / "card.json").read_text())["degradation_law"]["sigma_px"]
    assert len(sigmas) == 12
    for band in ("B01", "B08", "B12"):
        assert sigmas[band]["S2B"] == pytest.approx(kernel(degradation, 6, (band,), "S2B").sigma_px[0], abs=1e-6)
        assert f"| {band} | {sigmas[band]['S2B']} |" in (out / "model_card.md").read_text()


@pytest.mark.parametrize("units", ["8 bit", "16 bit", REFLECTANCE])
def test_the_card_of_a_network_of_pictures_tells_their_unit(small_model: Make, tmp_path: Path, units: str) -> None:
    out = write_export(small_model("dsen2", "sisr_x2", 16, units=units), tmp_path / "out", ("safetensors",))
    text = (out / "model_card.md").read_text()
    told = json.loads((out / "card.json").read_text())["units"]
    of_reflectance = units == REFLECTANCE
    assert ("reflectance x 10 000" in text) == of_reflectance == ("reflectance_one" in told)
    assert of_reflectance or f"take and return grey levels of {units}s, float32" in text
