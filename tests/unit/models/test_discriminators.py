"""Critics: published sizes, what they look at, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from hpc_sr.config import Section, parse
from hpc_sr.errors import RecipeError
from hpc_sr.models.build import CRITICS, build_critic, count_parameters
from hpc_sr.models.critic_options import CriticOptions
from hpc_sr.models.facts import Facts
from hpc_sr.tasks import S2X, S6X, S26X, TASKS, Task

SISR = TASKS["sisr_x4"]


class _Holds(Section):
    critic: CriticOptions


def critic(task: Task, patch_px: int, family: str, **options: object) -> nn.Module:
    torch.manual_seed(0)
    told = parse(_Holds, {"critic": {"family": family, **options}}, "a test").critic
    return build_critic(told, task, Facts(patch_px))


@pytest.mark.parametrize(
    ("task", "patch_px", "family", "options", "parameters", "score"),
    [
        (S2X, 32, "s2d", {}, 1_751_553, (1, 4, 4)),
        (S6X, 96, "s2d", {}, 1_749_249, (1, 12, 12)),
        (S2X, 32, "s2d_light", {}, 664_257, (1, 4, 4)),
        (S6X, 96, "s2d_light", {}, 660_161, (1, 12, 12)),
        (SISR, 96, "patchgan", {}, 2_765_633, (1, 10, 10)),
        (SISR, 128, "vgg", {}, 14_499_401, (1,)),
        (SISR, 384, "vgg", {}, 21_053_001, (1,)),
        (SISR, 96, "srgan", {}, 23_565_505, (1,)),
        (SISR, 256, "srgan", {}, 23_565_505, (1,)),
        (SISR, 128, "msfm", {}, 1_559_553, (1, 16, 16)),
        (SISR, 96, "eegan", {}, 23_086_785, (1,)),
        (SISR, 256, "eegan", {}, 23_086_785, (1,)),
        (SISR, 96, "eegan", {"deciding_px": 12}, 157_304_513, (1,)),
        (SISR, 384, "vgg", {"norm": "none"}, 21_050_121, (1,)),
        (SISR, 256, "vgg", {"norm": "none", "bias": "first"}, 16_951_241, (1,)),
        (SISR, 128, "vgg", {"bias": "first"}, 14_499_401, (1,)),
    ],
)
def test_critics_have_the_published_size(task, patch_px, family, options, parameters, score) -> None:
    with torch.device("meta"):  # sizes need no numbers
        network = critic(task, patch_px, family, **options)
        assert count_parameters(network) == parameters
        assert network(torch.rand(2, len(task.bands), patch_px, patch_px)).shape == (2, *score)
        # A bound on gains adds nothing that learns.
        assert count_parameters(critic(task, patch_px, family, **options, spectral_norm=True)) == parameters


@pytest.mark.parametrize(("family", "sees_px"), [("s2d", 52), ("patchgan", 70), ("msfm", 55)])
def test_a_score_looks_as_far_as_it_is_said(family: str, sees_px: int) -> None:
    network = critic(SISR, 160, family, width=16, norm="none").double()
    image = torch.rand(1, 3, 160, 160, dtype=torch.double, requires_grad=True)
    scores = network(image)
    (slope,) = torch.autograd.grad(scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2], image)
    seen = slope.abs().sum((0, 1)).nonzero()
    assert (seen.max(0).values - seen.min(0).values + 1).tolist() == [sees_px, sees_px]


@pytest.mark.parametrize("norm", ["none", "batch", "instance"])
@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize("family", ["s2d", "s2d_light", "patchgan", "vgg", "srgan", "msfm", "eegan"])
def test_norms_leave_every_parameter_a_gradient_that_counts(family: str, norm: str, spectral_norm: bool) -> None:
    told = {"width": 16, "norm": norm, "spectral_norm": spectral_norm}
    network = critic(S26X, 24, family, **told, **({"stages": 3} if family == "vgg" else {}))
    network(torch.rand(3, 8, 24, 24)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())
    kinds = {"none": (), "batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}
    found = [isinstance(layer, (nn.BatchNorm2d, nn.InstanceNorm2d)) for layer in network]
    assert any(found) == (norm != "none")
    assert all(isinstance(layer, kinds[norm]) for layer, is_norm in zip(network, found, strict=True) if is_norm)
    weighty = [layer for layer in network if isinstance(layer, (nn.Conv2d, nn.Linear))]
    assert {is_parametrized(layer) for layer in weighty} == {spectral_norm}
    first = next(k for k, layer in enumerate(network) if isinstance(layer, nn.Conv2d))
    assert not found[first + 1], "the first convolution has no norm"


@pytest.mark.parametrize(
    ("family", "patch_px", "options", "least"),
    [
        ("s2d", 6, {}, 8),
        ("s2d", 8, {"norm": "instance"}, 16),
        ("patchgan", 16, {}, 24),
        ("vgg", 16, {}, 32),
        ("srgan", 14, {}, 16),
        ("srgan", 16, {"norm": "instance"}, 17),
        ("msfm", 6, {}, 8),
        ("msfm", 8, {"norm": "instance"}, 16),
        ("eegan", 6, {}, 8),
        ("eegan", 8, {"norm": "instance"}, 16),
    ],
)
def test_patches_that_are_too_small_are_refused_and_the_least_is_not(family, patch_px, options, least) -> None:
    with pytest.raises(RecipeError, match=f"needs patches of {least} px or more, the store has {patch_px} px"):
        critic(S2X, patch_px, family, **options)
    assert critic(S2X, least, family, **options)(torch.rand(2, 6, least, least)).isfinite().all()


@pytest.mark.parametrize("patch_px", [16, 96, 128, 256])
def test_srgan_averages_its_last_map_as_the_library_does(patch_px: int) -> None:
    network = critic(SISR, patch_px, "srgan", width=16, hidden=4).double().eval()
    place = next(k for k, layer in enumerate(network) if isinstance(layer, nn.Flatten)) - 1
    features = torch.rand(2, 5, *(-(-patch_px // 16),) * 2, dtype=torch.double)
    torch.testing.assert_close(network[place](features), nn.functional.adaptive_avg_pool2d(features, 6))


@pytest.mark.parametrize("family", ["srgan", "eegan"])
def test_pictures_are_seen_about_zero(family: str) -> None:
    network = critic(SISR, 96, family, width=16, hidden=4)
    black, white = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    assert torch.equal(network[0](black), -white) and torch.equal(network[0](white), white)


def test_eegan_decides_on_all_of_its_map_as_published() -> None:
    """Patches of 96 px leave 12 x 12: their average to as many is the map itself."""
    network = critic(SISR, 96, "eegan", width=16, hidden=4, deciding_px=12).double()
    place = next(k for k, layer in enumerate(network) if isinstance(layer, nn.Flatten))
    seen = network[: place - 1](torch.rand(2, 3, 96, 96, dtype=torch.double))
    assert seen.shape == (2, 256, 12, 12) and torch.equal(network[place - 1](seen), seen)


def test_every_critic_of_the_recipe_has_a_network() -> None:
    families = CriticOptions.__args__[0].__args__  # type: ignore[attr-defined]
    assert set(families) == set(CRITICS)
