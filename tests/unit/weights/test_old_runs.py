"""Runs and exported folders of before version 2 of the card: they load as they were, and training goes on from them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from made_networks import trained as made_trained
from made_store import made_recipe, made_store, train_lines

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.data.dataset import Patches
from hpc_sr.errors import ArchitectureError, CheckpointError
from hpc_sr.evaluate.protocols.patches import evaluate_patches
from hpc_sr.shards.reader import Store
from hpc_sr.tasks import IMAGE_TASKS, NETWORK_UNIT, REFLECTANCE, S2X, Units
from hpc_sr.weights.card import check_same_model
from hpc_sr.weights.folder import find_checkpoint, find_damage
from hpc_sr.weights.trained import load_trained

BEFORE = Path(__file__).resolve().parents[2] / "data" / "runs_before_2"
#: The runs' `model` sections, and what else of their recipes was not as usual.
RUNS = {
    "s2x": ({"family": "s2x", "width": 16, "blocks": 1, "attention": False}, {}),
    "s2x_averaged": ({"family": "s2x", "width": 16, "blocks": 1}, {"ema_samples": 64}),
    "dsen2": ({"family": "dsen2", "width": 16, "blocks": 1}, {}),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store that all of them were trained on."""
    return made_store(tmp_path_factory.mktemp("store"), S2X, 16, rows=16, held_out=4)


@pytest.fixture
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of the run that the test's parameter `name` names."""
    return Path(shutil.copytree(BEFORE / request.getfixturevalue("name"), tmp_path / "run"))


def kept(run: Path) -> Path:
    (checkpoint,) = (run / "checkpoints").glob("step_*")
    return checkpoint


def lines_of(run: Path, kind: str) -> list[dict]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


@pytest.mark.parametrize("name", RUNS)
def test_a_run_keeps_its_numbers(name: str, store: Path) -> None:
    trained = load_trained(BEFORE / name)
    assert (trained.card.step, trained.card.samples, trained.card.patch_px) == (4, 32, 16)
    assert (trained.card.degradation, trained.card.level) == ("wald", "L1C")
    assert trained.card.facts.units == Units(REFLECTANCE, 2000.0)
    assert {key: getattr(trained.card.model, key) for key in RUNS[name][0]} == RUNS[name][0]
    tensors = torch.load(kept(BEFORE / name) / "generator.pt", weights_only=True)
    found = trained.generator.state_dict()
    assert found.keys() == tensors.keys() and all(torch.equal(found[key], tensors[key]) for key in tensors)
    # What it was said to score then, it scores now.
    told = lines_of(BEFORE / name, "validation")[-1]
    validation = Patches.of(Store(store).split("validation"), S2X, 16)
    scores = evaluate_patches(trained.generator, validation, SerialComm(), "fp32")
    assert scores == pytest.approx({key: told[key] for key in scores}, rel=1e-4)


@pytest.mark.parametrize("name", RUNS)
def test_training_goes_on_as_it_would_have(name: str, run: Path, store: Path) -> None:
    expected = json.loads((run / "continued.json").read_text())
    model, train = RUNS[name]
    more = {"evaluate_every_steps": 4, "checkpoint_every_steps": 2, "keep_checkpoints": 1, **train}
    recipe = made_recipe(run, store, model, total_samples=64, train=more)
    lines = train_lines(recipe)
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert [line["loss"] for line in lines[4:]] == pytest.approx(expected, rel=2e-3)
    # A checkpoint of today beside one of before, whose score best.json tells: the better validation is the best.
    scores = {line["step"]: line["rmse"] for line in lines_of(run, "validation")}
    assert scores.keys() == {4, 8}
    best = min(scores, key=scores.__getitem__)
    assert load_trained(run).card.step == best
    state = json.loads((run / "checkpoints" / "step_00000008" / "state.json").read_text())
    assert (state["best_by"], state["best"], state["score"]) == ("rmse", scores[best], scores[8])


@pytest.mark.parametrize("name", ["s2x"])
def test_the_best_is_the_one_that_was_named(name: str, run: Path, store: Path) -> None:
    older = kept(run)
    newer = Path(shutil.copytree(older, older.with_name("step_00000006")))
    assert find_checkpoint(run) == older, "best.json names it"
    shutil.rmtree(newer)
    named = run / "checkpoints" / "best.json"
    named.write_text(json.dumps({"checkpoint": older.name, "rmse": 1.0}))
    recipe = made_recipe(run, store, RUNS[name][0], total_samples=64, train={"keep_checkpoints": 1})
    train_lines(recipe)
    assert sorted(path.name for path in (run / "checkpoints").glob("step_*")) == ["step_00000004", "step_00000008"]
    assert load_trained(run).card.step == 4, "its score, told beside it, is better than those of today"
    named.unlink()
    assert load_trained(run).card.step == 8


@pytest.mark.parametrize("name", ["s2x"])
@pytest.mark.parametrize("file", ["generator.pt", "card.json"])
def test_a_checkpoint_of_before_that_is_damaged_is_refused(name: str, run: Path, file: str) -> None:
    assert find_damage(kept(run)) is None
    path = kept(run) / file
    content = path.read_bytes()
    path.write_bytes(content.replace(b"L1C", b"L2A") if file == "card.json" else content[:-1] + b"\1")
    with pytest.raises(CheckpointError, match=f"is damaged: {file} differ"):
        load_trained(run)


@pytest.mark.parametrize("name", ["exported"])
def test_an_exported_folder_is_the_run_that_it_was_made_of(name: str, run: Path) -> None:
    exported, origin = load_trained(run), load_trained(BEFORE / "s2x")
    assert exported.digest == origin.digest and exported.card == origin.card
    tensors = safetensors.torch.load_file(run / "model.safetensors")
    tensors["head.bias"] += 1.0
    safetensors.torch.save_file(tensors, run / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"is damaged: model.safetensors differ"):
        load_trained(run)


@pytest.mark.parametrize("name", ["dsen2"])
def test_a_run_of_before_is_not_gone_on_with_as_another_model(name: str, run: Path, store: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for model in ({"family": "dsen2", "width": 32, "blocks": 1}, {"family": "s2x", "width": 16, "blocks": 1}):
        with pytest.raises(ArchitectureError, match="is of another model: .*the recipe says"):
            train_lines(made_recipe(run, store, model, total_samples=64))
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize("name", ["dsen2"])
@pytest.mark.parametrize("version", [3, "2", None])
def test_a_card_of_another_version_is_refused_with_a_cure(name: str, run: Path, version: object) -> None:
    (kept(run) / "SHA256SUMS").unlink()
    card = kept(run) / "card.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "version": version}))
    with pytest.raises(CheckpointError, match="is a card of version .*this software reads up to 2") as caught:
        load_trained(run)
    assert caught.value.where == card and "the hpc_sr that wrote it, or a newer one" in str(caught.value.cure)


@pytest.mark.parametrize("name", ["dsen2"])
@pytest.mark.parametrize("absent", ["task", "model", "patch_px", "level"])
def test_a_card_that_lacks_something_is_no_card(name: str, run: Path, absent: str) -> None:
    card = kept(run) / "card.json"
    content = json.loads(card.read_text())
    del content[absent]
    card.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=f"is no model card .*{absent}"):
        load_trained(run)


def test_a_run_of_pictures_of_before_is_refused_in_plain_words() -> None:
    today = made_trained(IMAGE_TASKS[0], 16, units="8 bit").card
    before = replace(today, facts=replace(today.facts, units=Units("8 bit", NETWORK_UNIT)))
    with pytest.raises(ArchitectureError, match="saw stored values divided by 2000, .*today.* by 255") as error:
        check_same_model(before, today, Path("card.json"), "choose another run name")
    assert "network_unit" not in str(error.value)
