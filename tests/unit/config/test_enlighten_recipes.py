"""The recipes of EnlightenGAN against their source: sizes, weights, epochs, and what each ablation leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hpc_sr.models.build import build_critic, build_generator, count_parameters
from hpc_sr.models.facts import Facts
from hpc_sr.recipe import Recipe, load_recipe
from hpc_sr.tasks import TASKS
from hpc_sr.train.enlighten import crops_of
from hpc_sr.train.options import EnlightenTrainingOptions
from hpc_sr.train.schedule import resolve

CONFIGS = Path(__file__).parents[3] / "configs"
EPOCH = 323


def trained_by(name: str) -> tuple[Recipe, EnlightenTrainingOptions]:
    recipe = load_recipe(CONFIGS / f"{name}.yaml")
    assert isinstance(recipe.objective, EnlightenTrainingOptions)
    return recipe, recipe.objective


def test_it_trains_as_published() -> None:
    recipe, told = trained_by("enlighten")
    model, section = recipe.to_train()
    schedule = resolve(section, recipe.optimizer, recipe.train, 1)
    with torch.device("meta"):  # sizes need no numbers
        generator = build_generator(model, TASKS[recipe.task], Facts(recipe.images.patch_px))
        crops = crops_of(told, generator)
        critic = build_critic(told.critic, generator.task, Facts(crops.crop_px))
    assert (count_parameters(generator), count_parameters(critic)) == (16_773_574, 21_050_121)
    assert (recipe.images.patch_px, crops.crop_px, crops.overlap_px) == (168 * 4, 96 * 4, 24 * 4)
    assert (told.content_samples, section.total_samples) == (3 * EPOCH, 203 * EPOCH)
    rates = [schedule.learning_rate(epoch * EPOCH) for epoch in (0, 102, 103, 202)]
    assert rates == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5])
    weights = (told.weight, told.perceptual.weight, told.half_weight, told.inconsistency, told.penalty_weight)
    assert weights == (1e-3, 6e-3, 0.25, 0.25, 10)
    assert (told.loss, told.content, told.perceptual.distance, told.critic_steps) == ("wgan_gp", "mse", "mse", 1)


def test_its_autoencoder_is_trained_before_on_the_same_store() -> None:
    (recipe, told), before = trained_by("enlighten"), load_recipe(CONFIGS / "enlighten_autoencoder.yaml")
    model, section = before.to_train()
    assert (before.store, str(before.run_directory)) == (recipe.store, told.perceptual.autoencoder)
    assert TASKS[before.task].takes(recipe.task) and recipe.images.patch_px % 16 == 0
    assert section.total_samples == 200 * EPOCH
    schedule = resolve(section, before.optimizer, before.train, 1)
    assert schedule.peak_lr == 1e-4 and schedule.learning_rate(section.total_samples) < 1e-9
    with torch.device("meta"):
        generator = build_generator(model, TASKS[before.task], Facts(recipe.images.patch_px))
    assert count_parameters(generator) == 40_048_259


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("enlighten_no_perceptual", {"perceptual": None}),
        ("enlighten_vgg", {"perceptual": ("weights/vgg19.pth", None, 6e-3)}),
        ("enlighten_gan", {"loss": "vanilla", "penalty_weight": 0.0, "norm": "batch"}),
        ("enlighten_ragan", {"loss": "ragan", "penalty_weight": 0.0, "norm": "batch"}),
        ("enlighten_no_half", {"family": "rrdb"}),
        ("enlighten_may_disagree", {"inconsistency": 0.0}),
    ],
)
def test_an_ablation_differs_in_what_its_name_says_alone(name: str, changed: dict) -> None:
    whole, found = (_said(*trained_by(stem)) for stem in ("enlighten", f"ablations/{name}"))
    assert found == {**whole, **changed, "name": name}
    assert found != {**whole, "name": name}


def _said(recipe: Recipe, told: EnlightenTrainingOptions) -> dict:
    seen = told.perceptual
    return {
        "name": recipe.name,
        "family": recipe.to_train()[0].family,
        "store": recipe.store,
        "schedule": recipe.schedule,
        "perceptual": (seen.vgg, seen.autoencoder, seen.weight) if seen else None,
        "norm": told.critic.norm,
        **{name: getattr(told, name) for name in ("loss", "penalty_weight", "weight", "inconsistency", "half_weight")},
    }
