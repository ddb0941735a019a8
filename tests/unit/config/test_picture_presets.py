"""The recipes of systems for pictures against their publications: sizes, updates, rates and losses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hpc_sr.models.build import build_critic, build_generator, count_parameters
from hpc_sr.models.facts import Facts
from hpc_sr.recipe import Recipe, load_recipe
from hpc_sr.tasks import TASKS
from hpc_sr.train.schedule import Schedule, resolve

CONFIGS = Path(__file__).parents[3] / "configs"
VGG19_STAGES = ("relu1_2", "relu2_2", "relu3_4", "relu4_4", "relu5_4")


def recipe_of(name: str) -> Recipe:
    return load_recipe(CONFIGS / f"{name}.yaml")


def on(recipe: Recipe, ranks: int) -> Schedule:
    return resolve(recipe.to_train()[1], recipe.optimizer, recipe.train, ranks)


@pytest.mark.parametrize(
    ("name", "parameters", "critic"),
    [
        ("degan", 8_305_255, 23_565_505),
        ("degan_x2", 7_714_918, 23_565_505),
        ("degan_lite", 7_581_287, 23_565_505),
        ("msfm", 11_945_027, None),
        ("msfm_epa", 11_945_027, 1_559_553),
        ("srgan", 1_549_462, 23_565_505),
        ("esrgan", 16_697_987, 14_499_401),
        ("eegan_x4", 7_395_078, 23_086_785),
        ("hsenet_x4", 5_433_347, None),
        ("transenet_x4", 37_458_883, None),
    ],
)
def test_networks_have_the_published_size(name: str, parameters: int, critic: int | None) -> None:
    recipe = recipe_of(name)
    task, facts = TASKS[recipe.task], Facts(recipe.images.patch_px)
    with torch.device("meta"):
        assert count_parameters(build_generator(recipe.to_train()[0], task, facts)) == parameters
        if critic is not None:
            assert count_parameters(build_critic(recipe.objective.critic, task, facts)) == critic
    assert (recipe.objective.method == "adversarial") == (critic is not None)


@pytest.mark.parametrize(
    ("name", "patch_px", "batch", "updates", "rates"),
    [
        ("degan", 256, 16, 10_500, {0: 1e-4, 5_249: 1e-4, 5_250: 1e-5}),
        ("msfm", 128, 128, 200_000, {0: 1e-4, 20_000: 8e-5, 199_999: 1e-4 * 0.8**9}),
        ("msfm_epa", 128, 128, 200_000, {0: 1e-4, 20_000: 8e-5}),
        ("srgan", 96, 16, 200_000, {0: 1e-4, 99_999: 1e-4, 100_000: 1e-5}),
        ("esrgan", 128, 16, 400_000, {0: 1e-4, 100_000: 5e-5, 399_999: 1.25e-5}),
        # Its steps count updates of both networks: 2,600 of them are 1,300 batches.
        ("eegan_x4", 96, 16, 100_000, {k: 2e-4 * 0.9 ** (2 * k / 2_600) + 1e-5 for k in (0, 1, 1_300, 50_000)}),
        ("hsenet_x4", 192, 16, 105_000, {0: 1e-4, 78_749: 1e-4, 78_750: 5e-5}),
        ("transenet_x4", 192, 16, 26_250, {0: 1e-4, 20_999: 1e-4, 21_000: 5e-5}),
    ],
)
@pytest.mark.parametrize("ranks", [1, 2])
def test_updates_and_rates_are_the_published_ones(name, patch_px, batch, updates, rates, ranks) -> None:
    recipe = recipe_of(name)
    changed = {} if recipe.train.global_batch_size else {"batch_size_per_rank": batch // ranks}
    schedule = on(recipe.model_copy(update={"train": recipe.train.model_copy(update=changed)}), ranks)
    assert (recipe.images.patch_px, schedule.global_batch_size, schedule.steps_left()) == (patch_px, batch, updates)
    found = {step: schedule.learning_rate(step * batch) for step in rates}
    assert found == pytest.approx(rates)


@pytest.mark.parametrize(
    ("name", "told", "perceptual"),
    [
        ("degan", ("vanilla", 0.1, {"target": 2}), (VGG19_STAGES, "charbonnier", 0.1)),
        ("msfm_epa", ("vanilla", 1e-3, {}), (("relu4_3",), "mse", 0.1)),
        ("srgan", ("vanilla", 1e-3, {"target": 0}), (("relu5_4",), "mse", 0.006)),
        ("esrgan", ("ragan", 5e-3, {"target": 0.01}), (("conv5_4",), "l1", 1.0)),
        ("eegan_x4", ("lsgan_charbonnier", 1e-5, {"target": 20}), (VGG19_STAGES, "charbonnier", 1.0)),
    ],
)
def test_losses_are_the_published_ones(name: str, told: tuple, perceptual: tuple) -> None:
    recipe, content = recipe_of(name), {"esrgan": "l1", "eegan_x4": "charbonnier"}
    objective = recipe.objective
    assert (objective.loss, objective.weight, objective.weights) == told
    seen = objective.perceptual
    assert (seen.layers, seen.distance, seen.weight) == perceptual
    assert objective.content == content.get(name, "mse") and objective.best_by == "newest"
    assert objective.seen == ("base" if name == "eegan_x4" else None)
    assert objective.critic_optimizer.base_lr == recipe.optimizer.base_lr == (2.1e-4 if name == "eegan_x4" else 1e-4)


@pytest.mark.parametrize(("name", "before"), [("msfm_epa", "msfm"), ("srgan", "srresnet"), ("esrgan", "rrdb")])
def test_what_is_trained_on_is_what_was_trained(name: str, before: str) -> None:
    recipe, origin = recipe_of(name), recipe_of(before)
    assert (recipe.model, recipe.store, recipe.images) == (origin.model, origin.store, origin.images)
    assert recipe.objective.start_from == str(origin.run_directory) != str(recipe.run_directory)


def test_portions_fit_and_degradations_are_the_published_ones() -> None:
    degan, msfm, eegan = (recipe_of(name) for name in ("degan", "msfm", "eegan_x4"))
    assert [on(degan, ranks).accumulation_steps for ranks in (1, 2)] == [2, 1]
    assert [on(msfm, ranks).accumulation_steps for ranks in (1, 2, 4)] == [4, 2, 1]
    found = [recipe.images.degradation for recipe in (degan, msfm, eegan)]
    assert found == ["bicubic", "gauss1_bicubic", "box"]
    assert degan.objective.content_samples == 5 * 1_680
