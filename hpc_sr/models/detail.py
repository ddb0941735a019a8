"""DetailNet: a residual network that sees details alone, on the grid of the second finest bands.

The guided base (bases.py) measures in the image itself how fine and coarse bands hang together. What is left is what no
linear relation tells. The network looks for it in details: each image without its local mean. It has no biases, so it
is homogeneous: an image twice as bright, in which everything stands out twice as much, is corrected twice as much. It
knows no reflectance by heart, and few scenes are enough to train it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from hpc_sr.models.blocks import ResidualBlock, bilinear, conv3, init_he_uniform
from hpc_sr.models.facts import Facts
from hpc_sr.models.filters import BICUBIC_REACH_PX, at_least_float32, bicubic, correlated, gaussian_taps
from hpc_sr.models.generator import Outputs
from hpc_sr.models.multi_resolution import MultiResolution
from hpc_sr.models.options import DetailOptions, ResidualOptions
from hpc_sr.models.reach import Reach
from hpc_sr.tasks import Target, Task

#: The local mean of coarse bands: a Gaussian of this sigma in coarse pixels, and where it is cut.
_SIGMA_PX, _CUT_SIGMA = 3.0, 3.0
#: The output layer starts this small: the network begins at its base.
_HEAD_SHARE = 0.1


def mean_taps() -> torch.Tensor:
    """Return the taps (1, N) along an axis that make the local mean of coarse bands."""
    return gaussian_taps(_SIGMA_PX, _CUT_SIGMA)


def unbiased_layers(
    channels_in: int, channels_out: int, options: ResidualOptions
) -> tuple[nn.Conv2d, nn.Sequential, nn.Conv2d]:
    """Return first layer, trunk and head of a network of details, without biases, which begins near its base."""
    first = conv3(channels_in, options.width, bias=False)
    trunk = nn.Sequential(
        *(ResidualBlock(options.width, options.residual_scale, bias=False) for _ in range(options.blocks))
    )
    head = conv3(options.width, channels_out, bias=False)
    for layer in (first, trunk, head):
        init_he_uniform(layer)
    with torch.no_grad():
        head.weight.mul_(_HEAD_SHARE)
    return first, trunk, head


class DetailNet(MultiResolution):
    """Fine images go in as the phases of the trunk's grid, and residuals come out so.

    For each target of a scale s these go in:

        base - up(y)                    what the base has put into the coarse bands y
        x - up(mean_s(x))               each finer layer's detail; mean_s: over boxes of the target's coarse pixels
        z - gaussian(z)                 z: y, and mean_s(x) of each finer layer, on the coarse grid

    up is bicubic. The trunk's grid is that of the second finest input layer, 20 m: a convolution costs a quarter of
    what it costs on the finest grid.
    """

    window: torch.Tensor

    def __init__(self, task: Task, options: DetailOptions, facts: Facts):
        self.step = min(layer.stride for layer in task.inputs if layer.stride > 1)
        window = mean_taps()
        coarsest = max(target.scale for target in task.targets)
        seen_px = coarsest * max(BICUBIC_REACH_PX, window.shape[1] // 2)
        super().__init__(task, options, facts, Reach(seen_px, 0), options.width)
        convolutions_px = self.step * (2 + 2 * options.blocks) + self.step - 1
        self.reach = replace(self.reach, before_px=self.reach.before_px + convolutions_px)
        self.register_buffer("window", window, persistent=False)
        phases = self.step**2
        seen = sum(self._channels(target) for target in task.targets)
        self.first, self.trunk, self.head = unbiased_layers(seen, phases * len(task.bands), options)

    def forward(self, *inputs_BCHW: torch.Tensor) -> Outputs:
        bases = self.bases_of(inputs_BCHW, self.upsample(inputs_BCHW) if self.bases is None else [])
        details = [
            detail
            for target, base in zip(self.task.targets, bases, strict=True)
            for detail in self._details(target, base, inputs_BCHW)
        ]
        seen = torch.cat(details, 1).contiguous(memory_format=torch.channels_last)
        residual = F.pixel_shuffle(self.head(self.trunk(self.first(seen))), self.step)
        return self.consistent(inputs_BCHW, bases, residual)

    def _details(self, target: Target, base_BCHW: torch.Tensor, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        """Return what goes in for a target, on the trunk's grid."""
        coarse = at_least_float32(inputs[self.task.inputs.index(target.coarse)])
        found = [self._phases(base_BCHW - bicubic(coarse, target.scale), 1)]
        smooth = [coarse]
        for layer, x in zip(self.task.inputs, inputs, strict=True):
            if layer.stride < target.scale:
                fine, ratio = at_least_float32(x), target.scale // layer.stride
                mean = F.avg_pool2d(fine, ratio)
                found.append(self._phases(fine - bicubic(mean, ratio), layer.stride))
                smooth.append(mean)
        z = torch.cat(smooth, 1)
        return [*found, bilinear(z - correlated(z, self.window), target.scale // self.step)]

    def _phases(self, x_BCHW: torch.Tensor, stride: int) -> torch.Tensor:
        """Return an image of pixels that span `stride` target pixels on the trunk's grid."""
        return F.pixel_unshuffle(x_BCHW, self.step // stride) if stride < self.step else x_BCHW

    def _channels(self, target: Target) -> int:
        finer = [layer for layer in self.task.inputs if layer.stride < target.scale]
        phases = sum(len(layer.bands) * max(1, self.step // layer.stride) ** 2 for layer in finer)
        return len(target.bands) * (self.step**2 + 1) + phases + sum(len(layer.bands) for layer in finer)
