"""RRSGAN: its published size, what it starts from, what it makes of its reference, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from made_networks import network

from hpc_sr.bench.flops import multiply_adds_per_px
from hpc_sr.errors import RecipeError
from hpc_sr.models.blocks import bilinear
from hpc_sr.models.build import build_generator, count_parameters
from hpc_sr.models.facts import Facts
from hpc_sr.models.generator import Generator
from hpc_sr.models.options import parse_model
from hpc_sr.models.rrsgan import RelevanceAttention
from hpc_sr.tasks import task_by_name

REFERENCED = task_by_name("refsr_x4")
#: Everything that the published one has.
SMALL: dict[str, Any] = {"family": "rrsgan", "width": 8, "blocks": 1, "gradient_width": 4, "groups": 2}


def small(task: str = "refsr_x4") -> Generator:
    return network(parse_model(SMALL, "a test"), task_by_name(task), 32)


def shifting(generator: Generator) -> Generator:
    """Return the network with shifts of some pixels, as after training; at first it has none."""
    torch.manual_seed(1)
    for name, parameter in generator.named_parameters():
        if ".places." in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return generator


def pictures(bands: int = 3, height: int = 6, width: int = 5, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    return torch.rand(batch, bands, height, width), torch.rand(batch, bands, 4 * height, 4 * width)


def test_parts_have_the_published_size() -> None:
    with torch.device("meta"):
        generator = build_generator(parse_model({"family": "rrsgan"}, "a test"), REFERENCED, Facts(256))
    count = {name: count_parameters(part) for name, part in generator.named_children()}
    transfer = sum(count[name] for name in ("small", "medium", "large", "finer_small", "finer_medium", "last"))
    assert (count["encoder"], count["gradient_encoder"], count["alignment"]) == (312_256, 20_464, 2_055_120)
    assert (count["content"], transfer, count_parameters(generator)) == (1_183_488, 4_413_571, 7_984_899)
    assert round(multiply_adds_per_px(generator) * 256 * 256 / 1e9) == 235


@pytest.mark.parametrize("task", ["refsr_x4", "refsr_x4_rgbn"])
def test_with_zeros_in_its_last_convolution_it_enlarges_bilinearly(task: str) -> None:
    generator = shifting(small(task))
    for parameter in generator.last[-1].parameters():
        torch.nn.init.zeros_(parameter)
    coarse, reference = pictures(len(task_by_name(task).bands))
    assert torch.equal(generator(coarse, reference).targets[0], bilinear(coarse, 4))


def test_relevance_of_zero_weights_halves_the_reference() -> None:
    part, features = RelevanceAttention(8), torch.randn(2, 8, 5, 6)
    for parameter in part.parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.equal(part(features, torch.randn(2, 8, 5, 6)), features / 2)


def test_one_step_reaches_all_of_it() -> None:
    generator = shifting(small()).train()
    (estimate,) = generator(*pictures()).targets
    assert estimate.shape == (2, 3, 24, 20)
    estimate.square().mean().backward()
    assert [n for n, p in generator.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_at_its_start_no_parameter_is_without_a_gradient() -> None:
    generator = small().train()
    generator(*pictures())[0][0].square().mean().backward()
    assert [name for name, parameter in generator.named_parameters() if parameter.grad is None] == []


def test_shifts_lead_as_far_as_they_like() -> None:
    """What lies 150 pixels away is not looked at, until the shifts say so: `reach` is None."""
    generator, farthest = small().double(), []
    coarse, reference = (x.double() for x in pictures(height=60, width=2, batch=1))
    bias = generator.alignment.fine.move.places.bias
    for shift_px in (0.0, 150.0):
        with torch.no_grad():
            bias[0 : 18 * SMALL["groups"] : 2] = shift_px
        given = reference.clone().requires_grad_()
        generator(coarse, given).targets[0][..., 8, 4].sum().backward()
        assert given.grad is not None and given.grad[..., :16, :].abs().sum() > 0
        farthest.append(int(given.grad[0].abs().amax((0, 2)).nonzero().max()) - 8)
    assert farthest[0] < 150 <= farthest[1]
    assert generator.reach is None and generator.halo_px == 32


@pytest.mark.parametrize(
    ("task", "options", "told"),
    [
        ("sisr_x4", {}, "family rrsgan needs a reference beside the picture, task sisr_x4 has none"),
        ("s2x", {}, "needs a reference beside the picture, task s2x has none"),
        ("refsr_x4", {"groups": 7}, "groups: 7 does not divide width [+] gradient_width, 80"),
        ("refsr_x4", {"width": 63}, "multiple of 2"),
    ],
)
def test_what_has_no_reference_and_groups_that_leave_a_rest_are_refused(task: str, options: dict, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        build_generator(parse_model({"family": "rrsgan", **options}, "a test"), task_by_name(task), Facts(64))
