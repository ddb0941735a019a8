"""Published systems for pictures, small: a generator, its critic and its losses in one training, resumed to the bit."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_networks import network
from made_store import made_recipe, made_store, train_lines
from small_training import make_content, noise_batch

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.data.dataset import Patches
from hpc_sr.data.loader import Batch
from hpc_sr.errors import RecipeError
from hpc_sr.models.facts import Facts
from hpc_sr.models.options import parse_model
from hpc_sr.shards.reader import Store
from hpc_sr.tasks import TASKS, Units, task_by_name
from hpc_sr.train.adversarial import Adversarial
from hpc_sr.train.schedule import resolve
from hpc_sr.train.session import open_session

DEGAN = {"family": "degan", "width": 16, "blocks": 1, "unet_width": 16}
EEGAN = {"family": "eegan", "width": 8, "blocks": 1, "edge_blocks": 1}
#: Model, critic, what else the objective says.
SYSTEMS: dict[str, tuple[dict, dict, dict]] = {
    "degan": (
        DEGAN,
        {"family": "srgan", "width": 16, "hidden": 8},
        {"content": "mse", "weights": {"target": 0.5}, "content_samples": 8, "weight": 0.1},
    ),
    "msfm": ({"family": "msfm", "width": 8}, {"family": "msfm", "width": 16}, {"content": "mse"}),
    "srgan": (
        {"family": "srresnet", "width": 16, "blocks": 1},
        {"family": "srgan", "width": 16, "hidden": 8},
        {"weights": {"target": 0}},
    ),
    "esrgan": (
        {"family": "rrdb", "width": 8, "growth": 4, "blocks": 1},
        {"family": "vgg", "width": 16},
        {"loss": "ragan", "weights": {"target": 0.01}},
    ),
    "eegan": (
        EEGAN,
        {"family": "eegan", "width": 16, "hidden": 8},
        {"loss": "lsgan_charbonnier", "content": "charbonnier", "weights": {"target": 20}, "seen": "base"},
    ),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_store(tmp_path_factory.mktemp("store"), task_by_name("sisr_x4"), 32, rows=16, held_out=4)


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first two convolutions, of random weights."""
    noise, path = torch.Generator().manual_seed(3), tmp_path_factory.mktemp("vgg") / "vgg.pth"
    held = {}
    for number, into in {0: 3, 2: 64}.items():
        held[f"features.{number}.weight"] = torch.randn(64, into, 3, 3, generator=noise) * (2 / 9 / into) ** 0.5
        held[f"features.{number}.bias"] = torch.zeros(64)
    torch.save(held, path)
    return path


def opened(store: Path, model: dict, objective: dict) -> tuple[Adversarial, Batch]:
    """Return an objective at its first step, and a batch of two in network units."""
    recipe = made_recipe(Path("run"), store, model, 8, objective=objective, train={"batch_size_per_rank": 2})
    generator = network(recipe.to_train()[0], TASKS["sisr_x4"], Facts(32, Units.of("8 bit"))).train()
    patches = Patches.of(Store(recipe.store).split("train"), generator.task, 32)
    schedule = resolve(recipe.to_train()[1], recipe.optimizer, recipe.train, 1)
    sections = (recipe.objective, recipe.optimizer, recipe.train)
    session = open_session(generator, patches, *sections, schedule, SerialComm())
    assert isinstance(session.objective, Adversarial)
    batch = next(session.loader.batches(start=0)).in_network_units(generator.units, augment=True)
    return session.objective, batch


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_trains_all_that_it_has_and_resumes_to_the_bit(name: str, store: Path, vgg: Path, tmp_path) -> None:
    model, critic, told = SYSTEMS[name]
    seen = {"vgg": str(vgg), "layers": ["relu1_1", "conv1_2"], "distance": "charbonnier", "weight": 0.1}
    objective = {"method": "adversarial", "loss": "vanilla", "critic": critic, "perceptual": seen, **told}

    def lines(run: str, samples: int) -> list[dict]:
        return train_lines(made_recipe(tmp_path / run, store, model, samples, objective=objective))

    unbroken = lines("unbroken", 32)
    lines("broken", 16)
    again = lines("broken", 32)
    for key in ("loss", "target", "adversarial", "perceptual", "critic_loss"):
        values = [line.get(key) for line in unbroken]
        assert values == [line.get(key) for line in again]
        assert all(value is not None for value in values[1:])
    assert ("adversarial" in unbroken[0]) == (name != "degan"), "content goes alone first"
    assert (unbroken[-1]["target"] == 0) == (name == "srgan"), "no pixels are compared"


def test_noise_is_of_the_batchs_draws_alone() -> None:
    """In whatever parts and order a batch is taken: on any number of ranks and portions."""
    task = TASKS["sisr_x2"]
    generator = network(parse_model({**DEGAN, "noise": "train"}, "a test"), task, 16)
    content = replace(make_content(generator=generator), noisy=generator.noisy)
    batch = noise_batch(4, task=task, patch_px=16).in_network_units(generator.units, augment=False)

    def made(batch: Batch) -> torch.Tensor:
        return content.made_by(generator, batch).targets[0].detach()

    parts = torch.cat([made(part) for part in batch.split(4)])
    torch.testing.assert_close(made(batch), parts)
    assert (made(replace(batch, draws=batch.draws + 4)) - parts).abs().amax((1, 2, 3)).min() > 1e-6
    assert torch.equal(content.outputs(batch).targets[0], made(batch)), "the critic sees what the generator learns from"


def test_the_critic_and_vgg_see_the_base_and_pixels_are_those_of_the_result(store: Path, vgg: Path) -> None:
    """The gradient of all terms is that of the losses written out: Charbonnier's of pixels, features and scores."""
    model, critic, told = SYSTEMS["eegan"]
    seen = {"vgg": str(vgg), "layers": ["relu1_2"], "distance": "charbonnier", "weight": 0.3}
    objective = {"method": "adversarial", "critic": critic, "perceptual": seen, "weight": 0.1, **told}
    aim, batch = opened(store, model, objective)
    generator, judge = (copy.deepcopy(player.network) for player in aim.players)
    inputs, reference = batch.layers["lr"], batch.layers["target"]
    trunk = aim.content.perceptual.trunk

    def rho(difference: torch.Tensor) -> torch.Tensor:
        return (difference.square() + 1e-6).sqrt().mean()

    (result,), extras = generator(inputs)
    (fake,), (real,) = (trunk.features(picture, ["relu1_2"]) for picture in (extras["base"], reference))
    (20 * rho(result - reference) + 0.3 * rho(fake - real) + 0.1 * rho(judge(extras["base"]) - 1)).backward()
    aim.content.player.descend([batch], aim.terms)
    for ours, wanted in zip(aim.players[0].network.parameters(), generator.parameters(), strict=True):
        assert ours.grad is not None and wanted.grad is not None and ours.grad.abs().max() > 0
        torch.testing.assert_close(ours.grad, wanted.grad, rtol=1e-4, atol=1e-7)
    exhibit = aim.exhibit(batch)
    assert torch.equal(exhibit.real, reference)
    torch.testing.assert_close(exhibit.fake, aim.players[0].network(inputs).extras["base"])


@pytest.mark.parametrize(
    ("model", "told", "words"),
    [
        ({"family": "msfm"}, {}, "objective.seen: family msfm has no intermediate 'base'; it has none"),
        (EEGAN, {"seen": "bas"}, "family eegan has no intermediate 'bas'; it has base"),
        (EEGAN, {"perceptual": None}, "objective.seen is what perceptual and critics look at"),
    ],
)
def test_what_cannot_be_seen_or_is_not_looked_at_is_refused(model: dict, told: dict, words: str, store: Path) -> None:
    objective = {"method": "content", "seen": "base", "perceptual": {"vgg": "vgg.pth"}, **told}
    with pytest.raises(RecipeError, match=words):
        made_recipe(Path("run"), store, model, 8, objective=objective)
