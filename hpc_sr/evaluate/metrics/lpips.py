"""LPIPS 0.1 on VGG16: a learned distance between what a network sees in two pictures.

Its numbers mean something only with the published weights, which are not shipped: the backbone (a state dict of
torchvision's VGG16, `features.0.weight` ...) and the linear weights (`lin0.model.1.weight` ...) are read from files.
Without both there is no LPIPS, and never one of a random network.
Source: Zhang et al., CVPR 2018, https://arxiv.org/abs/1801.03924.
Shapes: x_BCHW = batch, red-green-blue, rows, columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import torch

from hpc_sr.errors import NotFiniteError, ShapeError
from hpc_sr.models.vgg import VGG, least_px, places
from hpc_sr.tasks import REFLECTANCE_ONE
from hpc_sr.weights.vgg import load_vgg, read_published, tensor_in

#: The last output of each stage is compared.
_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
#: Smaller pictures vanish on their way through four poolings.
LEAST_PX = least_px(_LAYERS[-1])
_NO_LENGTH = 1e-10


@dataclass(frozen=True, eq=False)
class Lpips:
    """The network: VGG16's trunk, and the channels' weights of each stage. Make it with `load`."""

    trunk: VGG
    linear: tuple[torch.Tensor, ...]

    @classmethod
    def load(cls, backbone: Path, linear: Path, device: torch.device | None = None) -> Lpips:
        """Return the network of two files of tensors, on the device.

        Raises MissingComponentError if a file is not there, cannot be read or lacks a tensor.
        """
        device = device or torch.device("cpu")
        trunk, weights = load_vgg(backbone, _LAYERS, device, depth=16), read_published(linear)
        channels = [places(16)[layer].shape[0] for layer in _LAYERS]
        cure = "give the linear weights of LPIPS 0.1 on VGG"
        chosen = (
            tensor_in(weights, f"lin{i}.model.1.weight", (1, count, 1, 1), linear, cure)
            for i, count in enumerate(channels)
        )
        return cls(trunk, tuple(weight[0, :, 0, 0].to(device) for weight in chosen))

    @torch.inference_mode()
    def distances(self, x_BCHW: torch.Tensor, y_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the distance (B,) of pictures in -1..1: the weighted squared difference of unit vectors.

        Each stage's features are divided by their length at every place; weights apply to channels, places are
        averaged, stages add up.
        """
        # The published shift and scale of -1..1 are ImageNet's mean and deviation of 0..1, which the trunk takes.
        seen = zip(*(self.trunk.features((image + 1) / 2, _LAYERS) for image in (x_BCHW, y_BCHW)), strict=True)
        stages = (
            torch.einsum("bchw,c->bhw", (_unit(x) - _unit(y)) ** 2, weights).mean((1, 2))
            for (x, y), weights in zip(seen, self.linear, strict=True)
        )
        return reduce(torch.add, stages)


def measure_lpips(
    network: Lpips,
    reference: torch.Tensor,
    estimate: torch.Tensor,
    mask: torch.Tensor | None = None,
    white: float = REFLECTANCE_ONE,
) -> np.ndarray:
    """Return [sum of distances, pictures] in float64: add those of windows and ranks, `lpips` them.

    Each picture of a batch, or window of an image, is compared by itself: the network sees some 200 px around a
    place, so another tiling is another number. Pictures with a pixel that `mask` excludes are left out.

    Shapes: (B, 3, H, W) red-green-blue, mask (B, H, W). 0..`white` becomes -1..1, what lies beyond is clipped.
    Raises ShapeError if the shapes do not fit; NotFiniteError for NaN or infinity in a picture that counts.
    """
    if reference.shape != estimate.shape or reference.ndim != 4 or reference.shape[1] != 3:
        raise ShapeError(f"{tuple(reference.shape)} and {tuple(estimate.shape)} are not both (B, 3, H, W)")
    if min(reference.shape[-2:]) < LEAST_PX:
        raise ShapeError(f"LPIPS needs {LEAST_PX} px or more, got {tuple(reference.shape[-2:])}")
    if mask is not None:
        if mask.shape != reference[:, 0].shape:
            raise ShapeError(f"a mask of shape {tuple(mask.shape)} does not fit {tuple(reference.shape)}")
        whole = mask.bool().flatten(1).all(1)
        reference, estimate = reference[whole], estimate[whole]
    if not (reference.isfinite().all() and estimate.isfinite().all()):
        raise NotFiniteError("values are NaN or infinite", where="LPIPS", cure="give a mask where there is no data")
    if not len(reference):
        return np.zeros(2)
    device = network.linear[0].device
    pictures = ((2 * image.to(device).double() / white - 1).clamp(-1, 1).float() for image in (reference, estimate))
    distances = network.distances(*pictures)
    return np.array([distances.double().sum().item(), len(distances)])


def lpips(sums: np.ndarray) -> float | None:
    """Return the mean distance, 0 at best; None of no picture."""
    return float(sums[0] / sums[1]) if sums[1] else None


def _unit(features_BCHW: torch.Tensor) -> torch.Tensor:
    return features_BCHW / (features_BCHW.square().sum(1, keepdim=True).sqrt() + _NO_LENGTH)
