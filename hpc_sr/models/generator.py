"""What every multi-resolution generator has in common."""

from __future__ import annotations

import math

import torch
from torch import nn

from hpc_sr.models.blocks import bilinear
from hpc_sr.tasks import Task


class Generator(nn.Module):
    """A network that adds what it learned to the bilinearly up-sampled target bands.

    `forward` takes the task's inputs in order, (B, C, H / stride, W / stride) in network units, and returns the
    target bands (B, C, H, W). H and W are multiples of `multiple_px`. If the map's upper-left corner lies on one, an
    output pixel depends on features up to `after_px` from it, with attention on all of the windows that these lie in,
    and those on inputs up to `before_px` farther: in all on nothing beyond `halo_px`. The trunk has `width` channels.
    """

    def __init__(self, task: Task, width: int, window_px: int | None):
        super().__init__()
        self.task, self.width = task, width
        self.multiple_px = math.lcm(task.alignment_px, window_px or 1)
        self._window_px = window_px
        self.before_px = self.after_px = self.halo_px = 0
        self._coarse = task.inputs.index(task.coarse)

    def upsample(self, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        """Return all inputs on the target grid: bilinear, pixel centres aligned (`align_corners=False`)."""
        strides = (layer.stride for layer in self.task.inputs)
        fine = (bilinear(x, stride) for x, stride in zip(inputs, strides, strict=True))
        # Channels last: what convolutions in bfloat16 and the attention's matrix products want; all layers keep it.
        return [x.contiguous(memory_format=torch.channels_last) for x in fine]

    def base(self, upsampled: list[torch.Tensor]) -> torch.Tensor:
        """Return what the network's output is added to."""
        return upsampled[self._coarse]

    def _reach(self, convolutions_before: int, convolutions_after: int) -> None:
        """Set how far 3x3 convolutions before and after a window of attention look; the halo is a whole multiple."""
        self.before_px = convolutions_before + max(layer.stride for layer in self.task.inputs)
        self.after_px = convolutions_after
        # One pixel into the next window makes all of that window matter.
        reach = self.before_px + self.after_px + (self._window_px or 0)
        self.halo_px = -(-reach // self.multiple_px) * self.multiple_px
