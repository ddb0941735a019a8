"""Recipes: strict types, near spellings, overrides, YAML 1.2 numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpc_sr.errors import RecipeError
from hpc_sr.recipe import as_yaml, derived, load_recipe, load_run_recipe

MINIMAL = """
name: tiny
task: s2x
store: stores/tiny
prepare:
  products: [a.SAFE]
model: {family: s2x, width: 32}
schedule: {total_samples: 1000}
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(MINIMAL)
    return path


def test_loads_and_writes_the_same_recipe(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file)
    again = tmp_path / "again.yaml"
    again.write_text(as_yaml(recipe))
    assert load_recipe(again) == recipe


@pytest.mark.parametrize("number", ["1e-4", "1E-4", "0.0001", "1.0e-4"])
def test_numbers_are_numbers(recipe_file: Path, number: str) -> None:
    assert load_recipe(recipe_file, [f"optimizer.base_lr={number}"]).optimizer.base_lr == 1e-4


def test_overrides_reach_nested_sections(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file, ["prepare.split.validation=[33UUB]", "train.seed=7", "name=other"])
    assert recipe.prepare is not None
    assert recipe.prepare.split.validation == ("33UUB",)
    assert (recipe.train.seed, recipe.name) == (7, "other")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("train.sed=1", ["train.sed", "'seed'"]),
        ("trian.seed=1", ["trian", "'train'"]),
        ("prepare.split.validatoin=[]", ["validatoin", "'validation'"]),
        ("prepare.stride=8", ["prepare.stride", "stride_px"]),
        ("train.seed=1.5", ["train.seed", "1.5", "integer"]),
        ("train.seed=one", ["train.seed", "one"]),
        ("train.augment=1", ["train.augment", "bool"]),
        ("model.family=vgg", ["model.family", "vgg", "s2x"]),
        ("model={family: dsen2, attention: true}", ["'model.attention'", "True", "residual_scale"]),
        ("model.blokcs=2", ["'model.blokcs'", "'blocks'"]),
        ("objective.conten=l1", ["'objective.conten'", "'content'"]),
        ("objective.method=adversaria", ["objective.method", "'adversarial'"]),
        ("objective={method: adversarial, critic: {family: s2d}}", ["'objective.loss'", "missing"]),
        ("objective={method: adversarial, loss: hinge, critic: {family: s2}}", ["objective.critic.family", "'s2d'"]),
        ("objective={method: adversarial, loss: hinge, critic: {family: s2d, nrm: none}}", ["critic.nrm'", "'norm'"]),
        ("objective={weight: 1}", ["'objective.weight'", "'weights'"]),
        ("objective=3", ["objective = 3"]),
        ("objective.best_by=rms", ["objective.best_by", "rms"]),
        ("objective.weights.target=-1", ["objective.weights.target", "0"]),
        ("loss.content=charbonnier", ["loss = {'content': 'charbonnier'}", "objective.content=l1"]),
        ("model.width=100", ["model.width", "100", "16"]),
        ("optimizer.base_lr=0", ["optimizer.base_lr", "0"]),
        ("task=s3x", ["task", "s3x"]),
        ("prepare.patch_px=33", ["33", "multiples of 2"]),
        ("schedule.decay=step", ["decay=step", "step_every_samples"]),
        ("schedule.warmup_samples=5000", ["warmup_samples"]),
        ("train.global_batch_size=64", ["train.global_batch_size", "base_batch_size"]),
        ("comm.reduction=adasum", ["comm.reduction=adasum", "lr_scaling=linear"]),
        ("name=a/b", ["a/b"]),
        ("prepare.split={train: [x], test: [x]}", ["x is in two splits"]),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_cure(recipe_file: Path, override: str, told: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe_file, [override])
    for part in (str(recipe_file) if "=" not in told[0] else "", *told, "cure"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: [", "not YAML"),
        ("- a\n- b", "a list, not a mapping"),
        ("name: a\nname: b", "'name' is given twice"),
        ("name: a", "missing"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=told):
        load_recipe(path)


def test_an_absent_file_and_a_broken_override_are_refused(tmp_path: Path, recipe_file: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path / "absent.yaml")
    with pytest.raises(RecipeError, match="not an override"):
        load_recipe(recipe_file, ["train.seed"])
    with pytest.raises(RecipeError, match="a value, not a section"):
        load_recipe(recipe_file, ["name.first=1"])


def test_derived_numbers_follow_from_the_world_size(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file, ["train.batch_size_per_rank=10", "schedule.total_samples=1001"])
    one, four = derived(recipe, 1), derived(recipe, 4)
    assert (one["global_batch_size"], one["total_steps"]) == (10, 101)
    assert (four["global_batch_size"], four["total_steps"]) == (40, 26)
    assert four["peak_learning_rate"] == pytest.approx(4 * one["peak_learning_rate"])


def test_the_old_name_of_the_objective_is_refused_in_recipes_and_read_in_runs(recipe_file: Path) -> None:
    run = recipe_file.parent / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text(MINIMAL + "loss: {content: charbonnier}\n")
    with pytest.raises(RecipeError, match=r"the section loss = .*another name.*\n.*write `objective: "):
        load_recipe(run / "recipe.yaml")
    assert load_run_recipe(run) == load_recipe(recipe_file, ["objective.content=charbonnier"])
    (run / "recipe.yaml").write_text(MINIMAL + "loss: {contnet: l1}\n")
    with pytest.raises(RecipeError, match="'objective.contnet'"):
        load_run_recipe(run)
