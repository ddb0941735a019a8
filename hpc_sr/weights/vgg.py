"""Published weights of VGG from files: .pth or .safetensors, in torchvision's layout `features.0.weight` ...

A file may hold the first layers alone. One that has `preprocess.weight` and `preprocess.bias`, a 1x1 convolution of
red, green and blue in 0..1, was trained on what these make of a picture; others are torchvision's own, which take
colours less ImageNet's mean, divided by its deviation.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from hpc_sr.errors import CheckpointError, MissingComponentError
from hpc_sr.models.vgg import VGG, Convolution, place_of, places
from hpc_sr.weights.tensors import read_tensors

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load_vgg(path: Path, layers: Collection[str], device: torch.device, depth: int | None = None) -> VGG:
    """Return the trunk up to the last of `layers` (relu1_1 ... relu5_3 of VGG16, relu5_4 of VGG19) on the device.

    conv1_1 is what goes into relu1_1. `depth` is 16 or 19 if it must be that network; None takes what the file holds.
    Raises MissingComponentError if the file is not there, cannot be read, or lacks a tensor or a layer.
    """
    held = read_published(path)
    depth = depth or (19 if "features.16.weight" in held else 16)
    known = places(depth)
    unknown = sorted(layer for layer in layers if place_of(layer) not in known)
    if unknown:
        raise MissingComponentError(
            f"has no layer {unknown[0]}: it is VGG{depth}", where=path, cure=f"choose of {', '.join(known)}"
        )
    needed = list(known)[: max(list(known).index(place_of(layer)) for layer in layers) + 1]
    convolutions = {
        name: _convolution(held, f"features.{known[name].number}", known[name].shape, path, depth, device)
        for name in needed
    }
    if "preprocess.weight" in held:
        preprocess = _convolution(held, "preprocess", (3, 3, 1, 1), path, depth, device)
    else:
        mean, deviation = torch.tensor(_MEAN, device=device), torch.tensor(_DEVIATION, device=device)
        preprocess = torch.diag(1 / deviation)[..., None, None], -mean / deviation
    return VGG(preprocess, convolutions)


def read_published(path: Path) -> dict[str, Any]:
    """Return the tensors of a file by name. Raises MissingComponentError if it is not there or cannot be read."""
    try:
        return read_tensors(path)
    except CheckpointError as error:
        cure = "give a file of tensors, .pth or .safetensors"
        raise MissingComponentError(error.problem, where=path, cure=cure) from error


def tensor_in(held: dict[str, Any], name: str, shape: tuple[int, ...], path: Path, cure: str) -> torch.Tensor:
    """Return a float32 tensor of a file. Raises MissingComponentError if it is not there or has another shape."""
    found = held.get(name)
    if not isinstance(found, torch.Tensor) or tuple(found.shape) != shape:
        told = f"shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else "no tensor"
        raise MissingComponentError(f"{name}: {told}, not {shape}", where=path, cure=cure)
    return found.float()


def _convolution(
    held: dict[str, Any], name: str, shape: tuple[int, int, int, int], path: Path, depth: int, device: torch.device
) -> Convolution:
    cure = f"give weights of VGG{depth} in torchvision's layout, as deep as the layers that are asked for"
    weight = tensor_in(held, f"{name}.weight", shape, path, cure)
    return weight.to(device), tensor_in(held, f"{name}.bias", shape[:1], path, cure).to(device)
