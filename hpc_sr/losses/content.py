"""Content losses: means over all elements, so they do not depend on batch or patch size."""

from __future__ import annotations

import torch

CHARBONNIER_EPSILON = 1e-3


def l1(estimate: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return mean |x - y|."""
    return (estimate - reference).abs().mean()


def mse(estimate: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return mean (x - y)^2: what PSNR is made of."""
    return (estimate - reference).square().mean()


def charbonnier(estimate: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return mean sqrt((x - y)^2 + epsilon^2): L1 that is smooth at zero."""
    return ((estimate - reference).square() + CHARBONNIER_EPSILON**2).sqrt().mean()


CONTENT_LOSSES = {"l1": l1, "mse": mse, "charbonnier": charbonnier}
