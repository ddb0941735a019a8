"""What generators have in common that see bands of several grids and add to a base."""

from __future__ import annotations

import torch

from hpc_sr.models.blocks import bilinear
from hpc_sr.models.facts import Facts
from hpc_sr.models.generator import Generator, Outputs
from hpc_sr.models.options import ResidualOptions
from hpc_sr.models.reach import Reach
from hpc_sr.tasks import Task


class MultiResolution(Generator):
    """A network whose residual is added to the target bands on the finest grid."""

    def __init__(
        self, task: Task, options: ResidualOptions, facts: Facts, convolutions: tuple[int, int], attends: bool
    ):
        """`convolutions` are those of 3x3 before and after a window of attention, along the longest way."""
        super().__init__(task, facts)
        self._width = options.width
        # Found here: torch.compile cannot look a layer up in a tuple.
        self._coarse = [task.inputs.index(target.coarse) for target in task.targets]
        before, after = convolutions
        stride = max(layer.stride for layer in task.inputs)
        self.reach = Reach(before + stride, after, facts.patch_px if attends else None)

    @property
    def width(self) -> int:
        return self._width

    def upsample(self, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        """Return all inputs on the target grid: bilinear, pixel centres aligned (`align_corners=False`)."""
        strides = (layer.stride for layer in self.task.inputs)
        fine = (bilinear(x, stride) for x, stride in zip(inputs, strides, strict=True))
        # Channels last: what convolutions in bfloat16 and the attention's matrix products want; all layers keep it.
        return [x.contiguous(memory_format=torch.channels_last) for x in fine]

    def added(self, upsampled: list[torch.Tensor], residual_BCHW: torch.Tensor) -> Outputs:
        """Return the targets: each one's base and its bands of the residual."""
        residuals = residual_BCHW.split([len(target.bands) for target in self.task.targets], 1)
        bases = (upsampled[index] for index in self._coarse)
        return Outputs(tuple(base + residual for base, residual in zip(bases, residuals, strict=True)))
