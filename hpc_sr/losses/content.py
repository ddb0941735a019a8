"""Content losses: means over all elements, so they do not depend on batch or patch size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

CHARBONNIER_EPSILON = 1e-3

Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def l1(estimate: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return mean |x - y|."""
    return (estimate - reference).abs().mean()


def mse(estimate: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return mean (x - y)^2: what PSNR is made of."""
    return (estimate - reference).square().mean()


def charbonnier(estimate: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return mean sqrt((x - y)^2 + epsilon^2): L1 that is smooth at zero."""
    return ((estimate - reference).square() + CHARBONNIER_EPSILON**2).sqrt().mean()


def perceptual(
    estimates: Sequence[torch.Tensor], references: Sequence[torch.Tensor], distance: Distance = mse
) -> torch.Tensor:
    """Return sum over layers of d(phi(y), phi(x)), phi a layer's features of estimate y and reference x.

    The distance d, mean squares if not given, is a mean over all elements of a layer's map (Johnson et al. 2016,
    https://arxiv.org/abs/1603.08155, equation 2). Layers weigh alike: the normalised VGG's features are of one size
    (Gatys et al. 2015, https://arxiv.org/abs/1505.07376), torchvision's grow with depth.
    """
    distances = [distance(y, x) for y, x in zip(estimates, references, strict=True)]
    return torch.stack(distances).sum()


CONTENT_LOSSES = {"l1": l1, "mse": mse, "charbonnier": charbonnier}
