"""The shipped recipes against their sources: batches, learning rates, halvings, budgets, sizes of networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hpc_sr.errors import RecipeError
from hpc_sr.models.build import build_critic, build_generator, count_parameters
from hpc_sr.models.facts import Facts
from hpc_sr.recipe import Recipe, load_recipe
from hpc_sr.tasks import TASKS
from hpc_sr.train.schedule import Schedule, resolve

CONFIGS = Path(__file__).parents[3] / "configs"
#: The thesis's tables: GPUs, global batch (the source's 1028 and 2056 are slips), synthesis RMSE, hours.
TABLES = {
    "s2x": ((1, 128, 36.42, 24), (2, 256, 35.67, 24), (4, 512, 34.99, 24), (8, 1024, 35.61, 12), (16, 2048, 38.58, 4)),
    "s6x": ((1, 32, 29.20, 24), (2, 64, 27.23, 24), (4, 128, 26.80, 24), (8, 256, 27.74, 12), (16, 512, 32.28, 4)),
}
ROWS = [(task, *row) for task, table in TABLES.items() for row in table]


def on(recipe: Recipe, ranks: int) -> Schedule:
    return resolve(recipe.to_train()[1], recipe.optimizer, recipe.train, ranks)


def row(task: str, gpus: int) -> Path:
    return CONFIGS / "scaling" / f"{task}_{gpus:02}.yaml"


@pytest.mark.parametrize(("task", "gpus", "batch", "rmse", "hours"), ROWS)
def test_a_row_of_the_scaling_tables_is_the_published_one(task, gpus, batch, rmse, hours) -> None:
    recipe, n = load_recipe(row(task, gpus)), 100_000
    schedule = on(recipe, gpus)
    assert (schedule.global_batch_size, schedule.accumulation_steps) == (batch, 1)
    assert schedule.steps_left() == 3 * n // gpus
    assert schedule.peak_lr == pytest.approx(1e-4 * gpus)
    for halving in (1, 2):
        step = halving * n // gpus
        before, after = (schedule.learning_rate(k * batch) for k in (step - 1, step))
        assert (before, after) == (schedule.peak_lr / 2 ** (halving - 1), schedule.peak_lr / 2**halving)
    head = row(task, gpus).read_text().split("\nbase:")[0]
    assert f"RMSE {rmse:.2f}" in head and f"global batch {batch}" in head and f"{hours} h of wall-clock" in head


@pytest.mark.parametrize(("task", "gpus", "batch", "rmse", "hours"), ROWS)
@pytest.mark.parametrize("ranks", [1, 2, 4, 8, 16])
def test_a_row_means_the_same_on_fewer_gpus(task, gpus, batch, rmse, hours, ranks: int) -> None:
    recipe = load_recipe(row(task, gpus))
    there, here = on(recipe, gpus), on(recipe, ranks)
    assert here.batch_size_per_rank * here.accumulation_steps * ranks == batch
    assert here.batch_size_per_rank <= recipe.train.batch_size_per_rank
    assert here.steps_left() == there.steps_left()
    positions = range(0, recipe.schedule.total_samples, 1_000_000)
    assert [here.learning_rate(p) for p in positions] == [there.learning_rate(p) for p in positions]


def test_rows_have_directories_of_their_own_and_differ_in_nothing_else() -> None:
    for task, table in TABLES.items():
        recipes = [load_recipe(row(task, gpus)) for gpus, *_ in table]
        assert len({recipe.run_directory for recipe in recipes}) == len(table)
        for recipe in recipes:
            assert recipe.task == task and recipe.prepare.degradation == "wald"
            assert (recipe.model, recipe.schedule) == (recipes[0].model, recipes[0].schedule)
            assert recipe.train.precision == "fp32" and recipe.store == recipes[0].store


def test_there_is_no_scaling_row_without_a_table() -> None:
    assert sorted((CONFIGS / "scaling").iterdir()) == sorted(row(task, gpus) for task, gpus, *_ in ROWS)


@pytest.mark.parametrize(
    ("name", "parameters", "degradation", "patch_px", "batch"),
    [
        ("s2x", 1_821_031, "mtf", 32, 128),
        ("s2x_thesis", 1_821_031, "wald", 32, 128),
        ("s2x_large_batch", 1_821_031, "wald", 32, 128),
        ("s6x", 1_825_827, "mtf", 96, 32),
        ("s6x_thesis", 1_825_827, "wald", 96, 32),
        ("dsen2_20", 1_789_574, "wald", 32, 128),
        ("dsen2_60", 1_787_266, "wald", 96, 128),
        ("vdsen2_20", 37_802_246, "wald", 32, 8),
        ("vdsen2_60", 37_797_634, "wald", 96, 8),
    ],
)
def test_networks_have_the_published_size(name, parameters, degradation, patch_px, batch) -> None:
    recipe = load_recipe(CONFIGS / f"{name}.yaml")
    generator = build_generator(recipe.to_train()[0], TASKS[recipe.task], Facts(recipe.prepare.patch_px))
    assert count_parameters(generator) == parameters
    assert (recipe.prepare.degradation, recipe.prepare.patch_px) == (degradation, patch_px)
    assert recipe.train.batch_size_per_rank == batch


@pytest.mark.parametrize("name", ["dsen2_20", "dsen2_60", "vdsen2_20", "vdsen2_60"])
def test_dsen2_trains_as_published_on_any_number_of_gpus(name: str) -> None:
    recipe = load_recipe(CONFIGS / f"{name}.yaml")
    one, eight = on(recipe, 1), on(recipe, 8)
    assert one.peak_lr == eight.peak_lr == 1e-4 and one.global_batch_size == eight.global_batch_size
    assert (recipe.optimizer.name, recipe.optimizer.betas, recipe.optimizer.eps) == ("nadam", (0.9, 0.999), 1e-8)
    assert one.learning_rate(0, reductions=1) == 5e-5 and one.learning_rate(0, reductions=9) == 1e-5
    assert not recipe.train.augment
    with pytest.raises(RecipeError, match="equal parts"):
        on(recipe, 3)


@pytest.mark.parametrize(
    ("size", "origin", "critic", "batch"), [("2x", "s2x", 1_751_553, 128), ("6x", "s6x", 1_749_249, 32)]
)
@pytest.mark.parametrize(
    ("name", "loss"), [("wgan_gp", "wgan_gp"), ("vanilla", "vanilla"), ("hinge", "hinge"), ("relativistic", "rsgan")]
)
def test_adversarial_recipes_train_on_what_the_thesis_trained(size, origin, critic, batch, name, loss) -> None:
    recipe, before = (load_recipe(CONFIGS / f"{stem}.yaml") for stem in (f"gan_{size}_{name}", f"{origin}_thesis"))
    schedule, told = on(recipe, 1), recipe.objective
    assert (recipe.model, recipe.store, recipe.prepare) == (before.model, before.store, before.prepare)
    assert (recipe.name, told.start_from) == (f"gan_{size}_{name}", str(before.run_directory))
    assert (schedule.peak_lr, told.critic_optimizer.base_lr, told.weight) == (1e-5, 1e-4, 1e-3)
    assert (schedule.global_batch_size, schedule.steps_left()) == (batch, 50_000)
    assert (told.loss, told.critic_steps, told.best_by) == (loss, 1, "newest")
    assert (told.critic.spectral_norm, told.penalty_weight) == (name == "hinge", 10.0 if name == "wgan_gp" else 0.0)
    network = build_critic(told.critic, TASKS[recipe.task], Facts(recipe.prepare.patch_px))
    assert count_parameters(network) == critic


def test_rrsgan_trains_as_published_on_any_number_of_gpus() -> None:
    recipe, plain = (load_recipe(CONFIGS / f"{name}.yaml") for name in ("rrsgan", "rrsnet"))
    told, task, facts = recipe.objective, TASKS[recipe.task], Facts(recipe.images.patch_px)
    assert (recipe.model, recipe.images, recipe.store, facts.patch_px) == (plain.model, plain.images, plain.store, 256)
    for ranks in (1, 8):
        schedule, cosine = on(recipe, ranks), on(plain, ranks)
        assert (schedule.global_batch_size, schedule.steps_left(), cosine.steps_left()) == (8, 250_000, 250_000)
        rates = [schedule.learning_rate(8 * step) for step in (0, 49_999, 50_000, 100_000, 150_000, 200_000, 249_999)]
        assert rates == [1e-4, 1e-4, 5e-5, 2.5e-5, 1.25e-5, 6.25e-6, 6.25e-6]
        assert (cosine.peak_lr, cosine.learning_rate(8 * 250_000)) == (2e-4, pytest.approx(1e-7))
    assert (told.content_samples // 8, told.gradients, told.weight, told.gradient_weight) == (30_000, 1, 1e-3, 1e-3)
    perceptual = told.perceptual
    assert (perceptual.layers, perceptual.distance, perceptual.weight) == (("conv5_4",), "l1", 0.1)
    assert {optimizer.betas for optimizer in (recipe.optimizer, told.critic_optimizer, plain.optimizer)} == {
        (0.9, 0.99)
    }
    with torch.device("meta"):
        critics = [build_critic(critic, task, facts) for critic in (told.critic, told.gradient_critic)]
        networks = [build_generator(r.model, TASKS[r.task], facts) for r in (recipe, two_dates())]
    assert [count_parameters(critic) for critic in critics] == [16_951_241] * 2
    assert [count_parameters(network) for network in networks] == [7_984_899, 7_987_764]


def two_dates() -> Recipe:
    return load_recipe(CONFIGS / "rrsgan_sentinel2.yaml")


def test_the_large_batch_takes_the_root_a_warm_up_and_a_cosine() -> None:
    schedule = on(load_recipe(CONFIGS / "s2x_large_batch.yaml"), 16)
    assert schedule.peak_lr == pytest.approx(4e-4) and schedule.global_batch_size == 2048
    rates = [schedule.learning_rate(2048 * step) for step in range(schedule.steps_left())]
    assert rates.index(max(rates)) in (999, 1000) and rates[0] < 1e-6 and rates[-1] < 1e-6


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda p: p.name)
def test_shipped_recipes_load_and_say_where_they_come_from(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name.startswith(path.stem[:3])
    head = "\n".join(line for line in path.read_text().splitlines() if line.startswith("#"))
    assert "# Source" in head and "# Command" in head
    if recipe.schedule is not None:
        assert "# Published" in head or "# Expected" in head or "# Budget" in head
