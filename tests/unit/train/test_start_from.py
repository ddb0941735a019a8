"""Runs that begin with the weights of another run, and what the objective chooses and refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_store import made_recipe, made_store, train_lines

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.data.dataset import Patches
from hpc_sr.errors import ArchitectureError, CheckpointError, RecipeError
from hpc_sr.recipe import Recipe
from hpc_sr.shards.reader import Store
from hpc_sr.shards.schema import read_manifest, write_manifest
from hpc_sr.tasks import PRE6X, S2X, S6X, S26X, Task
from hpc_sr.train.schedule import resolve
from hpc_sr.train.session import open_session
from hpc_sr.weights.trained import load_trained

MODEL = {"family": "s2x", "width": 16, "blocks": 1}


def store_of(folder: Path, task: Task, patch_px: int, **changed: str) -> Path:
    """Return a made-up store whose manifest says something else than usual."""
    made_store(folder, task, patch_px, rows=16, held_out=4)
    if changed:
        write_manifest(folder, replace(read_manifest(folder), **changed))
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_of(tmp_path_factory.mktemp("start") / "store", S2X, 16)


@pytest.fixture(scope="module")
def origin(store: Path) -> Path:
    """A run of four steps to start from, whose used weights are an average."""
    recipe = made_recipe(store.parent / "origin", store, MODEL, 32, train={"ema_samples": 16})
    train_lines(recipe)
    return recipe.run_directory


def first_loss(recipe: Recipe, start: Path) -> float:
    """Return the loss of a recipe's first batch under the weights of another run."""
    model, schedule = recipe.to_train()
    resolved = resolve(schedule, recipe.optimizer, recipe.train, 1)
    patches = Patches.of(Store(recipe.store).split("train"), S2X, 16)
    generator = load_trained(start).generator.train()
    sections = (recipe.objective, recipe.optimizer, recipe.train)
    session = open_session(generator, patches, *sections, resolved, SerialComm())
    batch = next(iter(session.loader.batches(0)))
    return float(session.objective(batch.in_network_units(generator.units, recipe.train.augment)).terms["loss"])


def test_a_run_begins_with_the_weights_of_another_and_reads_them_once(origin: Path, store: Path, tmp_path) -> None:
    start = Path(shutil.copytree(origin, tmp_path / "start"))
    sections = {"objective": {"start_from": str(start)}, "train": {"seed": 3}}
    unbroken = train_lines(made_recipe(tmp_path / "unbroken", store, MODEL, 32, **sections))
    assert unbroken[0]["loss"] == first_loss(made_recipe(tmp_path / "none", store, MODEL, 32, **sections), start)
    (anew,) = train_lines(made_recipe(tmp_path / "anew", store, MODEL, 8, train={"seed": 3}))
    assert unbroken[0]["loss"] != anew["loss"]
    train_lines(made_recipe(tmp_path / "broken", store, MODEL, 16, **sections))
    shutil.rmtree(start)
    resumed = train_lines(made_recipe(tmp_path / "broken", store, MODEL, 32, **sections))
    assert [(line["step"], line["loss"]) for line in resumed] == [(line["step"], line["loss"]) for line in unbroken]
    assert resumed[0]["step"] == 1, "steps are counted from this run's own beginning"
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        train_lines(made_recipe(tmp_path / "late", store, MODEL, 32, **sections))


@pytest.mark.parametrize(
    ("task", "patch_px", "changed", "model", "told"),
    [
        (S2X, 16, {"level": "L2A"}, {}, "level is 'L1C', the recipe says 'L2A'"),
        (S2X, 16, {"degradation": "mtf"}, {}, "degradation is 'wald', the recipe says 'mtf'"),
        (S2X, 16, {}, {"width": 32}, "model.width is 16, the recipe says 32"),
        (S2X, 16, {}, {"family": "dsen2"}, "model.family is 's2x', the recipe says 'dsen2'"),
        (S2X, 8, {}, {}, "patch_px is 16, the recipe says 8"),
        (S6X, 24, {}, {}, "task is 's2x', the recipe says 's6x'"),
    ],
    ids=["level", "degradation", "width", "family", "patch", "task"],
)
def test_weights_of_another_kind_are_no_beginning(
    origin: Path, tmp_path: Path, task: Task, patch_px: int, changed: dict, model: dict, told: str
) -> None:
    store = store_of(tmp_path / "store", task, patch_px, **changed)
    objective = {"start_from": str(origin)}
    with pytest.raises(ArchitectureError, match=told) as caught:
        train_lines(made_recipe(tmp_path / "run", store, MODEL | model, 16, objective=objective))
    assert caught.value.where == origin and "objective.start_from" in str(caught.value.cure)
    assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_weights_of_any_bands_begin_another_task(tmp_path: Path) -> None:
    model = {"family": "band", "width": 16, "blocks": 1}
    origin = made_recipe(tmp_path / "origin", store_of(tmp_path / "pre6x", PRE6X, 24), model, 8)
    train_lines(origin)
    start = load_trained(origin.run_directory)
    other = store_of(tmp_path / "s6x", S6X, 12, level="L2A", degradation="mtf")
    silent = {"optimizer": {"base_lr": 1e-30}, "objective": {"start_from": str(origin.run_directory)}}
    goes_on = made_recipe(tmp_path / "goes_on", other, model, 8, **silent)
    train_lines(goes_on)
    found = load_trained(goes_on.run_directory)
    assert (found.card.task, found.card.level, found.card.degradation) == ("s6x", "L2A", "mtf")
    for name, tensor in start.generator.state_dict().items():
        torch.testing.assert_close(found.generator.state_dict()[name], tensor)
    with pytest.raises(ArchitectureError, match="model.blocks is 1, the recipe says 2"):
        train_lines(made_recipe(tmp_path / "deeper", other, model | {"blocks": 2}, 8, **silent))


@pytest.mark.parametrize("best_by", ["rmse", "psnr", "sam", "newest"])
def test_the_objective_says_which_checkpoint_is_used(tmp_path: Path, store: Path, best_by: str) -> None:
    """A rate that is too high makes scores rise and fall: the best by one is seldom the newest."""
    train = {"evaluate_every_steps": 1, "checkpoint_every_steps": 1, "keep_checkpoints": 2}
    sections = {"objective": {"best_by": best_by}, "optimizer": {"base_lr": 0.05}}
    train_lines(made_recipe(tmp_path / "run", store, MODEL, 80, train=train, **sections))
    lines = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    scores = {line["step"]: line for line in lines if line["kind"] == "validation"}
    assert len(scores) == 10
    best = {
        "newest": lambda: 10,
        "psnr": lambda: max(scores, key=lambda at: scores[at]["psnr"]),
        "rmse": lambda: min(scores, key=lambda at: scores[at]["rmse"]),
        "sam": lambda: min(scores, key=lambda at: scores[at]["sam"]),
    }[best_by]()
    assert load_trained(tmp_path / "run").card.step == best
    kept = {int(path.name[5:]) for path in (tmp_path / "run" / "checkpoints").glob("step_*")}
    assert kept == {best, 9, 10}


@pytest.mark.parametrize(
    ("task", "patch_px", "weights", "told", "cure"),
    [
        (S2X, 16, {"target20": 2.0}, "'target20' is no target of task s2x", "its targets are target"),
        (S26X, 24, {"target": 2.0}, "'target' is no target of task s26x", "its targets are target20, target60"),
    ],
    ids=["s2x", "s26x"],
)
def test_a_weight_of_no_target_is_refused(
    tmp_path: Path, task: Task, patch_px: int, weights: dict, told: str, cure: str
) -> None:
    store = store_of(tmp_path / "store", task, patch_px)
    with pytest.raises(RecipeError, match=told) as caught:
        train_lines(made_recipe(tmp_path / "run", store, MODEL, 16, objective={"weights": weights}))
    assert (caught.value.where, caught.value.cure) == ("objective.weights", cure)


def test_weights_of_zero_alone_leave_nothing_to_learn(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", S26X, 24)
    with pytest.raises(RecipeError, match="leave nothing to compare"):
        nothing = {"weights": {"target20": 0, "target60": 0}}
        train_lines(made_recipe(tmp_path / "run", store, MODEL, 8, objective=nothing))
    (line,) = train_lines(made_recipe(tmp_path / "one", store, MODEL, 8, objective={"weights": {"target20": 0}}))
    assert line["target20"] == 0 and line["loss"] == pytest.approx(line["target60"])


def test_both_targets_of_the_joint_task_are_learnt_by_their_weights(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", S26X, 24)
    lines = train_lines(made_recipe(tmp_path / "run", store, MODEL, 48, objective={"weights": {"target60": 0.25}}))
    assert len(lines) == 6
    for line in lines:
        assert line["loss"] == pytest.approx(line["target20"] + line["target60"], rel=1e-5)
    for name in ("target20", "target60"):
        assert lines[-1][name] < lines[0][name]
    alone = train_lines(made_recipe(tmp_path / "whole", store, MODEL, 8))
    assert lines[0]["target60"] == pytest.approx(0.25 * alone[0]["target60"], rel=1e-5)
    assert lines[0]["target20"] == pytest.approx(alone[0]["target20"], rel=1e-5)
    trained = load_trained(tmp_path / "run")
    assert trained.card.family == "s26x" and trained.generator.task is S26X
