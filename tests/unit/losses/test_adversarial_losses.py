"""Adversarial losses against values by hand, torch's own entropy, and what their gradients must do."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hpc_sr.losses.adversarial import ADVERSARIAL_LOSSES, AdversarialLoss, adversarial_loss, gradient_penalty
from hpc_sr.models.blocks import SelfAttention

LN2 = math.log(2)
#: Critic's and generator's loss of scores that are all 0.
AT_ZERO = {
    "vanilla": (2 * LN2, LN2),
    "saturating": (2 * LN2, -LN2),
    "lsgan": (1, 1),
    "lsgan_charbonnier": (2, 1),
    "wgan": (0, 0),
    "wgan_gp": (0, 0),
    "hinge": (2, 0),
    "rsgan": (LN2, LN2),
    "ragan": (LN2, LN2),
}


def scores(seed: int = 0, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    noise = torch.Generator().manual_seed(seed)
    real, fake = 3 * torch.randn((2, *(shape or (6, 1, 4, 4))), generator=noise)
    return real.requires_grad_(), fake.requires_grad_()


def entropy(score: torch.Tensor, is_real: float) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(score, torch.full_like(score, is_real))


def expected(name: str, real: torch.Tensor, fake: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both losses by formulas of another form."""
    both = entropy(real, 1) + entropy(fake, 0)
    if name == "vanilla":
        return both, entropy(fake, 1)
    if name == "saturating":
        return both, (1 - fake.sigmoid()).log().mean()
    if name == "lsgan":
        one = torch.ones_like(real)
        return F.mse_loss(real, one) + F.mse_loss(fake, 0 * one), F.mse_loss(fake, one)
    if name == "lsgan_charbonnier":
        from_real, from_fake = (torch.hypot(real - 1, torch.tensor(1e-3)), torch.hypot(fake + 1, torch.tensor(1e-3)))
        return from_real.mean() + from_fake.mean(), torch.hypot(fake - 1, torch.tensor(1e-3)).mean()
    if name in ("wgan", "wgan_gp"):
        return (fake - real).mean(), -fake.sum() / fake.numel()
    if name == "hinge":
        return (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean(), fake.neg().mean()
    if name == "rsgan":
        return -(real - fake).sigmoid().log().mean(), -(fake - real).sigmoid().log().mean()
    apart_real, apart_fake = real - fake.mean(), fake - real.mean()
    return (entropy(apart_real, 1) + entropy(apart_fake, 0)) / 2, (entropy(apart_real, 0) + entropy(apart_fake, 1)) / 2


def test_every_loss_has_its_oracle() -> None:
    assert set(AT_ZERO) == set(ADVERSARIAL_LOSSES)


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_losses_are_their_formulas_with_gradients(name: str) -> None:
    pair, zero = adversarial_loss(name), torch.zeros(3, 1)
    assert (float(pair.critic(zero, zero)), float(pair.generator(zero, zero))) == pytest.approx(AT_ZERO[name])
    real, fake = scores()
    for loss, wanted in zip((pair.critic, pair.generator), expected(name, real, fake), strict=True):
        found = loss(real, fake)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
        for got, right in zip(
            torch.autograd.grad(found, (real, fake), allow_unused=True),
            torch.autograd.grad(wanted, (real, fake), allow_unused=True),
            strict=True,
        ):
            zeros = torch.zeros_like(real)
            torch.testing.assert_close(zeros if got is None else got, zeros if right is None else right)


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_a_critic_wants_them_apart_and_a_generator_is_rewarded_for_higher_scores(name: str) -> None:
    pair = adversarial_loss(name)
    real, fake = (0.1 * score.detach() for score in scores(1))  # within every hinge and square
    for loss, up in ((pair.critic, 1), (pair.generator, -1)):
        assert loss(real, fake + 0.1) * up > loss(real, fake) * up
    assert pair.critic(real + 0.1, fake) < pair.critic(real, fake)
    differs = bool(pair.generator(real + 0.1, fake) != pair.generator(real, fake))
    assert differs == pair.compares


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_scores_of_any_size_leave_losses_and_gradients_finite(name: str) -> None:
    pair = adversarial_loss(name)
    for real, fake in ((1e4, -1e4), (-1e4, 1e4)):
        both = [torch.full((2, 1), value, requires_grad=True) for value in (real, fake)]
        for loss in (pair.critic, pair.generator):
            found = loss(*both)
            assert found.isfinite()
            assert all(
                slope is None or slope.isfinite().all() for slope in torch.autograd.grad(found, both, allow_unused=True)
            )


def split_in_two(name: str, real: torch.Tensor, fake: torch.Tensor, which: str) -> torch.Tensor:
    """Return the mean of the losses of two halves whose means are exchanged, as two ranks have it."""
    means = torch.stack([torch.stack((a.mean(), b.mean())) for a, b in zip(real.chunk(2), fake.chunk(2), strict=True)])
    swapped = means.flip(1) if which == "generator" else means
    pair: AdversarialLoss = adversarial_loss(name, lambda own: swapped.mean(0) + 0 * own)
    halves = zip(real.chunk(2), fake.chunk(2), strict=True)
    return torch.stack([getattr(pair, which)(a, b) for a, b in halves]).mean()


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
@pytest.mark.parametrize("which", ["critic", "generator"])
def test_halves_that_know_the_mean_of_all_equal_the_whole(name: str, which: str) -> None:
    real, fake = scores(2)
    whole, halves = getattr(adversarial_loss(name), which)(real, fake), split_in_two(name, real, fake, which)
    torch.testing.assert_close(whole, halves)
    for got, right in zip(
        torch.autograd.grad(halves, (real, fake), allow_unused=True, materialize_grads=True),
        torch.autograd.grad(whole, (real, fake), allow_unused=True, materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(got, right)


def test_the_penalty_is_that_of_a_slope() -> None:
    direction = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    direction /= direction.norm()
    real, fake, shares = torch.rand(4, 3, 8, 8), torch.rand(4, 3, 8, 8), torch.rand(4, 1, 1, 1)
    for slope in (0.0, 1.0, 2.5):
        found = gradient_penalty(lambda x, k=slope: (k * direction * x).sum((1, 2, 3))[:, None], real, fake, shares)
        assert float(found) == pytest.approx((slope - 1) ** 2, abs=1e-5)
    parts = gradient_penalty(lambda x: (direction * x).sum((1, 2, 3))[:, None].repeat(1, 5), real, fake, shares)
    assert float(parts) == pytest.approx(0, abs=1e-5), "the score of an image is the mean of its parts' scores"


def test_the_penalty_looks_between_reference_and_estimate() -> None:
    seen = []

    def critic(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.detach())
        return x.square().mean((1, 2, 3))[:, None]

    real, fake = torch.rand(3, 2, 4, 4), torch.rand(3, 2, 4, 4)
    gradient_penalty(critic, real, fake, torch.tensor([0.0, 1.0, 0.25]).view(3, 1, 1, 1))
    torch.testing.assert_close(seen[0], torch.stack((real[0], fake[1], 0.25 * fake[2] + 0.75 * real[2])))


def test_the_penalty_has_the_gradient_of_its_values() -> None:
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Softplus(), nn.Flatten(), nn.Linear(12, 1)).double()
    real, fake, shares = torch.rand(2, 3, 2, 4, 4).double().unbind() + (torch.rand(3, 1, 1, 1).double(),)
    weight = critic[0].weight

    # In float32 inside: finite differences of 1e-2 are exact enough.
    def value() -> torch.Tensor:
        return gradient_penalty(lambda x: critic(x.double()), real, fake, shares.float())

    (slope,) = torch.autograd.grad(value(), weight)
    with torch.no_grad():
        for place in ((0, 0, 0, 0), (2, 1, 1, 2)):
            before, step = float(weight[place]), 1e-2
            ends = []
            for moved in (before + step, before - step):
                weight[place] = moved
                with torch.enable_grad():
                    ends.append(value().item())
            weight[place] = before
            assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float(slope[place]), rel=2e-2, abs=1e-5)


def test_the_penalty_is_float32_under_autocast_and_goes_through_attention() -> None:
    torch.manual_seed(0)
    attention = SelfAttention(8, window_px=8)
    nn.init.constant_(attention.gamma, 0.7)
    critic = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), attention, nn.Conv2d(8, 1, 3))
    real, fake, shares = torch.rand(2, 2, 8, 8), torch.rand(2, 2, 8, 8), torch.rand(2, 1, 1, 1)
    plain = gradient_penalty(critic, real, fake, shares)
    with torch.autocast("cpu", torch.bfloat16):
        cast = gradient_penalty(critic, real.bfloat16().float(), fake, shares)
        assert cast.dtype == torch.float32
        torch.testing.assert_close(gradient_penalty(critic, real, fake, shares), plain, rtol=0, atol=0)
    plain.backward()
    assert attention.query.weight.grad.abs().max() > 0
