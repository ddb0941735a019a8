"""VGG's trunk of convolutions (Simonyan and Zisserman 2015, https://arxiv.org/abs/1409.1556): what it sees in pictures.

LPIPS compares it to score, the perceptual loss to train. Weights are published, never made up: see weights/vgg.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch.nn.functional import conv2d, max_pool2d, relu

#: Channels of the five stages, and how many convolutions each has, by the network's number of layers.
_WIDTHS = (64, 128, 256, 512, 512)
_COUNTS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}

#: A kernel and a bias.
Convolution = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Place:
    """Where a convolution stands in torchvision's state dict (`features.NUMBER`), and the shape of its kernel."""

    number: int
    shape: tuple[int, int, int, int]


def places(depth: int) -> dict[str, Place]:
    """Return the convolutions of VGG16 or VGG19 in order, by the name of what comes out: relu1_1, relu1_2 ..."""
    found, number, before = {}, 0, 3
    for stage, (width, count) in enumerate(zip(_WIDTHS, _COUNTS[depth], strict=True), start=1):
        for layer in range(1, count + 1):
            found[f"relu{stage}_{layer}"] = Place(number, (width, before, 3, 3))
            number, before = number + 2, width  # a ReLU follows each
        number += 1  # a pooling follows each stage
    return found


def least_px(layer: str) -> int:
    """Return the side of the smallest picture of which a layer sees anything: each stage but the first halves it."""
    return 2 ** (int(layer[4]) - 1)


def place_of(layer: str) -> str:
    """Return where a layer stands in `places`: conv1_1, what goes into relu1_1, stands where that does."""
    return layer.replace("conv", "relu")


@dataclass(frozen=True, eq=False)
class VGG:
    """The trunk up to some layer, without anything to learn: `convolutions` by layer, in order.

    `preprocess` takes red, green and blue in 0..1 to what the first convolution was trained on, a 1x1 convolution.
    """

    preprocess: Convolution
    convolutions: Mapping[str, Convolution]

    def features(self, picture_BCHW: torch.Tensor, layers: Collection[str]) -> list[torch.Tensor]:
        """Return what comes out of the layers, in the trunk's order; gradients flow to the picture.

        A layer is a ReLU (relu5_4), or what goes into it (conv5_4). Zeros stand around every map. A layer of stage s
        has 1 / 2^(s-1) of the picture's side.
        """
        out, found = conv2d(picture_BCHW, *self.preprocess), []
        for name, convolution in self.convolutions.items():
            if name.endswith("_1") and name != "relu1_1":
                out = max_pool2d(out, 2)
            before = conv2d(out, *convolution, padding=1)
            out = relu(before)
            here = ((name.replace("relu", "conv"), before), (name, out))
            found += [features for layer, features in here if layer in layers]
        return found

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All weights, in order."""
        return [tensor for pair in (self.preprocess, *self.convolutions.values()) for tensor in pair]
