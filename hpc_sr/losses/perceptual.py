"""The perceptual loss: how differently a trained network sees an estimate and its reference."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def perceptual(estimates: Sequence[torch.Tensor], references: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return sum over layers of mean (phi(y) - phi(x))^2, phi a layer's features of estimate y and reference x.

    The mean is over all elements of a layer's map (Johnson et al. 2016, https://arxiv.org/abs/1603.08155, equation 2).
    Layers weigh alike: the normalised VGG's features are of one size (Gatys et al. 2015,
    https://arxiv.org/abs/1505.07376), torchvision's grow with depth.
    """
    distances = [(y - x).square().mean() for y, x in zip(estimates, references, strict=True)]
    return torch.stack(distances).sum()
