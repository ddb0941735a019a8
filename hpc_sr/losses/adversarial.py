"""Adversarial losses: what a critic and a generator minimise, as functions of the critic's scores.

Scores are logits C(x) of any shape, a batch of images or of an image's parts: `real` those of references x, `fake`
those of estimates y. Means are over everything, after the non-linearity. Logarithms of probabilities are written by
softplus(s) = log(1 + exp(s)), which neither overflows nor takes the logarithm of 0.

Some formulas are often printed otherwise. Relativistic losses without the sigmoid, log(C(x) - C(y)), take logarithms of
negative numbers; their generator's loss without the minus rewards being found out. A generator that minimises
log(1 - sigmoid(C(y))) learns nothing once the critic wins: it is `saturating` here, and not what `vanilla` does. A
penalty on the norm of the critic's weights bounds no slope: see `gradient_penalty`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from hpc_sr.losses.content import charbonnier


class AdversarialLoss(NamedTuple):
    """`critic(real, fake)` and `generator(real, fake)`. Only one that `compares` looks at `real` in the latter."""

    critic: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    generator: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    compares: bool = False


def _entropy(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Return E softplus(-C(x)) + E softplus(C(y)) (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def _non_saturating(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Return E softplus(-C(y)), section 3 of the same paper."""
    return F.softplus(-fake).mean()


def _saturating(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Return -E softplus(C(y)) = E log(1 - sigmoid(C(y))), equation 1 of the same paper."""
    return -F.softplus(fake).mean()


def _squares(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Return E (C(x) - 1)^2 + E C(y)^2 (Mao et al. 2017, https://arxiv.org/abs/1611.04076)."""
    return (real - 1).square().mean() + fake.square().mean()


def _square(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Return E (C(y) - 1)^2 of the same paper."""
    return (fake - 1).square().mean()


def _both_signs(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Return E r(C(x) - 1) + E r(C(y) + 1), r(s) = sqrt(s^2 + 1e-6) (Jiang et al. 2019,
    https://doi.org/10.1109/TGRS.2019.2902431)."""
    one = torch.ones_like(real)
    return charbonnier(real, one) + charbonnier(fake, -one)


def _one_sign(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Return E r(C(y) - 1) of the same paper."""
    return charbonnier(fake, torch.ones_like(fake))


def _distance(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Return E C(y) - E C(x), minus Wasserstein's distance (Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875).

    It means something only if C's slope is bounded: by clipped weights, or by `gradient_penalty`.
    """
    return fake.mean() - real.mean()


def _higher(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Return -E C(y)."""
    return -fake.mean()


def _hinge(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Return E max(0, 1 - C(x)) + E max(0, 1 + C(y)) (Lim and Ye 2017, https://arxiv.org/abs/1705.02894)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def _more_real(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Return E softplus(C(y) - C(x)), each with its own (Jolicoeur-Martineau 2018, https://arxiv.org/abs/1807.00734)."""
    return F.softplus(fake - real).mean()


def _more_fake(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Return E softplus(C(x) - C(y)) of the same paper."""
    return F.softplus(real - fake).mean()


def relativistic_average(mean_over_ranks: Callable[[torch.Tensor], torch.Tensor]) -> AdversarialLoss:
    """Return the losses of scores compared with the mean of the other kind, section 4 of the same paper.

    Critic: 1/2 [E softplus(-(C(x) - mean C(y))) + E softplus(C(y) - mean C(x))]; the generator's has x and y swapped.
    `mean_over_ranks` (Comm.mean_with_gradient) makes the means those of the batches of all ranks, gradients included.
    """

    def critic(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        # One exchange for both.
        mean_real, mean_fake = mean_over_ranks(torch.stack((real.mean(), fake.mean()))).unbind()
        return 0.5 * (F.softplus(mean_fake - real).mean() + F.softplus(fake - mean_real).mean())

    return AdversarialLoss(critic, lambda real, fake: critic(fake, real), compares=True)


_WASSERSTEIN = AdversarialLoss(_distance, _higher)
_LOSSES = {
    "vanilla": AdversarialLoss(_entropy, _non_saturating),
    "saturating": AdversarialLoss(_entropy, _saturating),
    "lsgan": AdversarialLoss(_squares, _square),
    "lsgan_charbonnier": AdversarialLoss(_both_signs, _one_sign),
    "wgan": _WASSERSTEIN,
    "wgan_gp": _WASSERSTEIN,
    "hinge": AdversarialLoss(_hinge, _higher),
    "rsgan": AdversarialLoss(_more_real, _more_fake, compares=True),
}
ADVERSARIAL_LOSSES = (*_LOSSES, "ragan")


def adversarial_loss(
    name: str, mean_over_ranks: Callable[[torch.Tensor], torch.Tensor] = lambda tensor: tensor
) -> AdversarialLoss:
    """Return the losses called `name`, one of ADVERSARIAL_LOSSES. `mean_over_ranks`: see `relativistic_average`."""
    return _LOSSES.get(name) or relativistic_average(mean_over_ranks)


def gradient_penalty(
    critic: Callable[[torch.Tensor], torch.Tensor],
    real_BCHW: torch.Tensor,
    fake_BCHW: torch.Tensor,
    shares_B111: torch.Tensor,
) -> torch.Tensor:
    """Return E (|dC/dz| - 1)^2 at z = t y + (1 - t) x (Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028).

    `shares_B111` are the t of each sample in [0, 1). The norm is over all elements of a sample's z; C(z) is the mean
    of its scores, as in the losses. Computed in float32, autocast or not; gradients may be taken of it.
    """
    between = torch.lerp(real_BCHW.float(), fake_BCHW.float(), shares_B111).detach().requires_grad_()
    # Fused attention has no second derivative.
    with torch.autocast(between.device.type, enabled=False), sdpa_kernel(SDPBackend.MATH):
        score = critic(between).flatten(1).mean(1).sum()
        (slopes,) = torch.autograd.grad(score, between, create_graph=True)
    return (slopes.flatten(1).norm(dim=1) - 1).square().mean()
