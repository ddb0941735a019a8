"""Recipes of images: what belongs together, what training asks for, and that the shipped one prepares."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from hpc_sr.cli.train import train_recipe
from hpc_sr.comm.communicator import SerialComm
from hpc_sr.errors import RecipeError
from hpc_sr.recipe import TaskName, as_yaml, derived, load_recipe
from hpc_sr.tasks import TASKS

IMAGES = """
name: set
task: sisr_x3
store: stores/set
images: {hr: [images], patch_px: 48, stride_px: 24}
"""
PRODUCTS = """
name: tiny
task: s2x
store: stores/tiny
prepare: {products: [a.SAFE]}
"""
MODEL, SCHEDULE = "model: {family: s2x, width: 32}\n", "schedule: {total_samples: 1000}\n"


@pytest.fixture
def load(tmp_path: Path):
    def from_text(text: str, *overrides: str):
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return load_recipe(path, list(overrides))

    return from_text


def test_a_recipe_may_name_every_task() -> None:
    assert get_args(TaskName) == tuple(TASKS)


@pytest.mark.parametrize("text", [IMAGES, PRODUCTS])
def test_a_recipe_that_only_prepares_is_whole(load, text: str) -> None:
    recipe = load(text)
    assert recipe.model is None and recipe.preparation == (recipe.images or recipe.prepare)
    assert load(as_yaml(recipe)) == recipe
    assert derived(recipe, 4) == {"store": f"{recipe.store} (not prepared yet)"}


@pytest.mark.parametrize(
    ("text", "overrides", "told"),
    [
        (IMAGES, ["prepare.products=[a.SAFE]"], "either prepare or images"),
        (IMAGES, ["task=s2x"], "task s2x takes prepare"),
        (PRODUCTS, ["task=sisr_x4"], "task sisr_x4 takes images"),
        (IMAGES, ["images.patch_px=32"], "images.patch_px and images.stride_px must be multiples of 3"),
        (IMAGES, ["images.stride_px=25"], "must be multiples of 3"),
        (PRODUCTS, ["prepare.stride_px=25"], "prepare.patch_px and prepare.stride_px must be multiples of 2"),
        (IMAGES + MODEL, [], "family s2x is for products, task sisr_x3 takes dsen2"),
        (IMAGES, ["images.hr=[]"], "give either hr or products"),
        (IMAGES, ["images.products=[a.SAFE]"], "give either hr or products"),
        (IMAGES, ["images.degradation=mtf"], "images.degradation"),
        (IMAGES, ["task=sisr_x5"], "sisr_x5"),
    ],
)
def test_sections_that_do_not_agree_are_refused(load, text: str, overrides: list[str], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        load(text, *overrides)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (PRODUCTS, "has no `model` section"),
        (PRODUCTS + MODEL, "has no `schedule` section"),
        (PRODUCTS + SCHEDULE, "has no `model` section"),
        (IMAGES, "has no `model` section"),
    ],
)
def test_training_names_what_the_recipe_lacks_and_leaves_nothing(load, tmp_path: Path, text: str, told: str) -> None:
    recipe = load(text, f"train.runs={tmp_path / 'runs'}")
    with pytest.raises(RecipeError, match=told):
        train_recipe(recipe, SerialComm())
    assert not (tmp_path / "runs").exists()


def test_a_whole_recipe_gives_what_training_needs(load) -> None:
    recipe = load(PRODUCTS + MODEL + SCHEDULE)
    assert recipe.to_train() == (recipe.model, recipe.schedule)
    recipe = load(IMAGES + "model: {family: dsen2, width: 32}\n" + SCHEDULE)
    assert recipe.to_train() == (recipe.model, recipe.schedule)
