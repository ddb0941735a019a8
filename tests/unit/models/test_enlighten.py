"""The generator of EnlightenGAN: its sizes, what it shares with RRDBNet, and what it does in training alone."""

from __future__ import annotations

import pytest
import torch
from made_networks import captures_graphs, network

from hpc_sr.errors import RecipeError
from hpc_sr.export.graphs import capture
from hpc_sr.models.build import build_generator, count_parameters
from hpc_sr.models.enlighten import Enlighten
from hpc_sr.models.facts import Facts
from hpc_sr.models.filters import bicubic
from hpc_sr.models.generator import Generator
from hpc_sr.models.options import parse_model
from hpc_sr.tasks import TASKS, Units

SISR = TASKS["sisr_x4"]
SMALL = {"width": 4, "growth": 4, "blocks": 1}


def small(family: str = "enlighten", **options: object) -> Generator:
    told = parse_model({"family": family, **SMALL, **options}, "a test")
    return network(told, SISR, Facts(64, Units.of("8 bit")))


@pytest.mark.parametrize(("options", "count"), [({}, 16_773_574), ({"shared_up": True}, 16_697_987 + 38_659)])
def test_it_has_the_published_size(options: dict, count: int) -> None:
    with torch.device("meta"):  # sizes need no numbers
        generator = build_generator(parse_model({"family": "enlighten", **options}, "a test"), SISR, Facts(384))
    assert count_parameters(generator) == count


@pytest.mark.parametrize("shared_up", [False, True])
def test_the_weights_of_rrdbnet_fit_and_give_its_picture(shared_up: bool) -> None:
    plain, generator = small("rrdb"), small(shared_up=shared_up)
    missing, unknown = generator.load_state_dict(plain.state_dict(), strict=False)
    assert not unknown and {name.split(".")[0] for name in missing} == {"enlighten"}
    coarse = torch.rand(2, 3, 8, 12)
    (wanted,) = plain(coarse).targets
    outputs = generator(coarse)
    assert torch.equal(outputs.targets[0], wanted) and not outputs.extras
    torch.testing.assert_close(generator.train()(coarse).targets[0], wanted)
    assert (generator.reach, generator.halo_px) == (plain.reach, plain.halo_px)


@pytest.mark.parametrize("shared_up", [False, True])
def test_in_training_it_gives_the_half_and_all_of_it_learns(shared_up: bool) -> None:
    generator = small(shared_up=shared_up).train()
    outputs = generator(torch.rand(2, 3, 6, 10))
    assert outputs.targets[0].shape == (2, 3, 24, 40) and outputs.extras["x2"].shape == (2, 3, 12, 20)
    (outputs.targets[0].square().mean() + outputs.extras["x2"].square().mean()).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in generator.parameters())


def test_on_bicubic_the_half_is_added_to_an_enlargement_of_its_size() -> None:
    generator = small(base="bicubic").train()
    assert isinstance(generator, Enlighten)
    for parameter in (*generator.conv_last.parameters(), *generator.enlighten[-1].parameters()):
        torch.nn.init.zeros_(parameter)
    coarse = torch.rand(1, 3, 6, 10)
    outputs = generator(coarse)
    torch.testing.assert_close(outputs.extras["x2"], bicubic(coarse, 2))
    torch.testing.assert_close(outputs.targets[0], bicubic(coarse, 4))


def test_the_half_is_of_the_features_that_the_option_says() -> None:
    """With `shared_up` the half learns through RRDBNet's first enlargement, without it does not."""
    for shared_up in (False, True):
        generator = small(shared_up=shared_up).train()
        generator(torch.rand(1, 3, 6, 6)).extras["x2"].sum().backward()
        assert isinstance(generator, Enlighten)
        assert (generator.conv_up1.weight.grad is not None) == shared_up
        assert generator.conv_first.weight.grad is not None and generator.conv_last.weight.grad is None


@captures_graphs
def test_in_use_the_half_is_not_computed_and_not_in_a_graph() -> None:
    generator = small()
    called = []
    generator.enlighten.register_forward_hook(lambda *told: called.append(1))
    generator.estimate(torch.rand(1, 3, 8, 8))
    assert not called
    graphs = [capture(one).graph_module.code for one in (small(), small("rrdb"))]
    assert graphs[0].count("conv2d") == graphs[1].count("conv2d") > 0


def test_it_is_for_what_it_was_published_for() -> None:
    with pytest.raises(RecipeError, match="family enlighten is for x4, task sisr_x2 is x2"):
        build_generator(parse_model({"family": "enlighten"}, "a test"), TASKS["sisr_x2"], Facts(96))
