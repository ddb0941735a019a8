"""Published systems for pictures, small: a generator, its critic and its losses in one training, resumed to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_networks import network
from made_store import made_recipe, made_store, train_lines
from small_training import make_content, noise_batch

from hpc_sr.data.loader import Batch
from hpc_sr.models.options import parse_model
from hpc_sr.tasks import TASKS, task_by_name

DEGAN = {"family": "degan", "width": 16, "blocks": 1, "unet_width": 16}
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
