"""LPIPS 0.1 on VGG16: a learned distance between what a network sees in two pictures.

Its numbers mean something only with the published weights, which are not shipped: the backbone (a state dict of
torchvision's VGG16, `features.0.weight` ...) and the linear weights (`lin0.model.1.weight` ...) are read from files.
Without both there is no LPIPS, and never one of a random network.
Source: Zhang et al., CVPR 2018, https://arxiv.org/abs/1801.03924.
Shapes: x_BCHW = batch, red-green-blue, rows, columns.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import conv2d, max_pool2d, relu

from hpc_sr.disk import size_of
from hpc_sr.errors import MissingComponentError, NotFiniteError, ShapeError
from hpc_sr.tasks import REFLECTANCE_ONE

#: Convolutions of each stage by their number in the backbone's state dict; a stage's last output is compared.
_STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
_SHAPES = {
    0: (64, 3),
    2: (64, 64),
    5: (128, 64),
    7: (128, 128),
    10: (256, 128),
    12: (256, 256),
    14: (256, 256),
    17: (512, 256),
    19: (512, 512),
    21: (512, 512),
    24: (512, 512),
    26: (512, 512),
    28: (512, 512),
}
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
#: Smaller pictures vanish on their way through four poolings.
LEAST_PX = 2 ** (len(_STAGES) - 1)
_NO_LENGTH = 1e-10


@dataclass(frozen=True, eq=False)
class Lpips:
    """The network: kernels and biases by number, and the channels' weights of each stage. Make it with `load`."""

    convolutions: dict[int, tuple[torch.Tensor, torch.Tensor]]
    linear: tuple[torch.Tensor, ...]

    @classmethod
    def load(cls, backbone: Path, linear: Path, device: torch.device | None = None) -> Lpips:
        """Return the network of two files of tensors, on the device.

        Raises MissingComponentError if a file is not there, cannot be read or lacks a tensor.
        """
        features, weights = _tensors(backbone), _tensors(linear)
        convolutions = {
            number: (
                _tensor(features, f"features.{number}.weight", (*shape, 3, 3), backbone).to(device),
                _tensor(features, f"features.{number}.bias", shape[:1], backbone).to(device),
            )
            for number, shape in _SHAPES.items()
        }
        channels = [_SHAPES[stage[-1]][0] for stage in _STAGES]
        chosen = (
            _tensor(weights, f"lin{i}.model.1.weight", (1, count, 1, 1), linear) for i, count in enumerate(channels)
        )
        return cls(convolutions, tuple(weight[0, :, 0, 0].to(device) for weight in chosen))

    @torch.inference_mode()
    def distances(self, x_BCHW: torch.Tensor, y_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the distance (B,) of pictures in -1..1: the weighted squared difference of unit vectors.

        Each stage's features are divided by their length at every place; weights apply to channels, places are
        averaged, stages add up.
        """
        seen = zip(self._features(x_BCHW), self._features(y_BCHW), strict=True)
        stages = (
            torch.einsum("bchw,c->bhw", (_unit(x) - _unit(y)) ** 2, weights).mean((1, 2))
            for (x, y), weights in zip(seen, self.linear, strict=True)
        )
        return reduce(torch.add, stages)

    def _features(self, picture_BCHW: torch.Tensor) -> list[torch.Tensor]:
        shift, scale = (picture_BCHW.new_tensor(values)[:, None, None] for values in (_SHIFT, _SCALE))
        out, features = (picture_BCHW - shift) / scale, []
        for stage in _STAGES:
            out = out if stage is _STAGES[0] else max_pool2d(out, 2)
            for number in stage:
                out = relu(conv2d(out, *self.convolutions[number], padding=1))
            features.append(out)
        return features


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


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    cure = "give a file of tensors"
    size_of(path, MissingComponentError, cure, most_bytes=sys.maxsize)
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    # A damaged file makes torch fail in any way.
    except Exception as error:
        raise MissingComponentError(f"cannot be read ({error})", where=path, cure=cure) from error
    if not isinstance(held, dict):
        raise MissingComponentError(f"holds a {type(held).__name__}", where=path, cure="give a state dict")
    return held


def _tensor(held: dict[str, torch.Tensor], name: str, shape: tuple[int, ...], path: Path) -> torch.Tensor:
    found = held.get(name)
    if not isinstance(found, torch.Tensor) or tuple(found.shape) != shape:
        told = "no tensor" if not isinstance(found, torch.Tensor) else f"shape {tuple(found.shape)}"
        raise MissingComponentError(
            f"{name}: {told}, not {shape}",
            where=path,
            cure="give VGG16 and LPIPS 0.1 weights in their published layout",
        )
    return found.float()
