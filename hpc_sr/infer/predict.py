"""A generator applied to a part of an image that is larger than memory or patch.

The prediction of a pixel is the same for every tiling: what is read around it covers all that the network can see,
aligned as the network's attention windows are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from hpc_sr.infer.windows import Area, read_mirrored
from hpc_sr.models.generator import Generator
from hpc_sr.models.precision import autocast
from hpc_sr.tasks import NETWORK_UNIT, Layer

#: Returns the (C, H, W) values of a layer, in stored units, for an area on the layer's own grid inside the image.
ReadLayer = Callable[[Layer, Area], np.ndarray]


@dataclass(frozen=True)
class Predictor:
    """A generator with a device and a precision; prepare it with `Predictor.of`."""

    generator: Generator
    device: torch.device
    precision: str

    @classmethod
    def of(cls, generator: Generator, device: torch.device, precision: str) -> Predictor:
        """Return a predictor with the generator in evaluation mode on the device."""
        return cls(generator.to(device).eval(), device, precision)

    def predict(self, read: ReadLayer, area: Area, height: int, width: int) -> torch.Tensor:
        """Return the target bands (C, h, w) of an area of an image of `height` x `width` target pixels.

        Float32 in stored units, on the device. `read` must return finite values: nodata is filled by the caller.
        """
        layers = read_layers(self.generator, read, area, height, width)
        inputs = [torch.from_numpy(values)[None].to(self.device) / NETWORK_UNIT for values in layers.values()]
        with torch.inference_mode(), autocast(self.device, self.precision):
            estimate = self.generator(*inputs)
        kept = area.relative_to(read_area(self.generator, area)).slices
        return estimate[0][(slice(None), *kept)].float() * NETWORK_UNIT


def read_area(generator: Generator, area: Area) -> Area:
    """Return what must be read to predict an area."""
    return area.grown(generator.halo_px).aligned(generator.multiple_px)


def read_layers(generator: Generator, read: ReadLayer, area: Area, height: int, width: int) -> dict[str, np.ndarray]:
    """Return the float32 (C, h, w) input layers around an area, mirrored beyond the image."""
    around = read_area(generator, area)
    layers = {}
    for layer in generator.task.inputs:
        values = read_mirrored(
            lambda inside, layer=layer: read(layer, inside),
            around.divided(layer.stride), height // layer.stride, width // layer.stride,
        )  # fmt: skip
        layers[layer.name] = np.ascontiguousarray(values, np.float32)
    return layers
