"""What generators have in common that see bands of several grids and add to a base."""

from __future__ import annotations

import torch
from torch import nn

from hpc_sr.errors import RecipeError
from hpc_sr.models.backproject import BackProjection
from hpc_sr.models.bases import Bicubic, Guided
from hpc_sr.models.blocks import bilinear
from hpc_sr.models.facts import Facts, Law
from hpc_sr.models.generator import Generator, Outputs
from hpc_sr.models.options import BaseOptions
from hpc_sr.models.reach import Reach
from hpc_sr.tasks import Target, Task


class MultiResolution(Generator):
    """A network whose residual is added to a base of the target bands, the sum back-projected if that is asked for."""

    reach: Reach

    def __init__(self, task: Task, options: BaseOptions, facts: Facts, trunk: Reach, width: int):
        """`trunk` is how far the network looks on the finest grid, `width` the channels of its widest map.

        Raises RecipeError if the facts lack the degradation that the options need.
        """
        super().__init__(task, facts, width)
        # Found here: torch.compile cannot look a layer up in a tuple.
        self._coarse = [task.inputs.index(target.coarse) for target in task.targets]
        # The bilinear base is what the network sees anyway: nothing computes it twice.
        own_base = options.base != "bilinear"
        bases = [_base(options, target, facts) for target in task.targets if own_base]
        projections = [
            BackProjection(target.scale, _law(facts, target).bands) for target in task.targets if options.back_project
        ]
        self.bases = nn.ModuleList(bases) if bases else None
        self.projections = nn.ModuleList(projections) if projections else None
        stride = max(layer.stride for layer in task.inputs)
        self.reach = Reach(trunk.before_px + stride, trunk.after_px, trunk.window_px).over(
            base_px=max((base.reach_px for base in bases), default=0),
            projection_px=max((projection.reach_px for projection in projections), default=0),
        )

    def upsample(self, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        """Return all inputs on the target grid: bilinear, pixel centres aligned (`align_corners=False`)."""
        strides = (layer.stride for layer in self.task.inputs)
        fine = (bilinear(x, stride) for x, stride in zip(inputs, strides, strict=True))
        # Channels last: what convolutions in bfloat16 and the attention's matrix products want; all layers keep it.
        return [x.contiguous(memory_format=torch.channels_last) for x in fine]

    def added(
        self, inputs: tuple[torch.Tensor, ...], upsampled: list[torch.Tensor], residual_BCHW: torch.Tensor
    ) -> Outputs:
        """Return the targets: each one's base and its bands of the residual, consistent with the input if asked for."""
        return self.consistent(inputs, self.bases_of(inputs, upsampled), residual_BCHW)

    def bases_of(self, inputs: tuple[torch.Tensor, ...], upsampled: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return what each target's residual is added to."""
        if self.bases is None:
            return [upsampled[place] for place in self._coarse]
        return [base(inputs[place], inputs[0]) for base, place in zip(self.bases, self._coarse, strict=True)]

    def consistent(
        self, inputs: tuple[torch.Tensor, ...], bases: list[torch.Tensor], residual_BCHW: torch.Tensor
    ) -> Outputs:
        """Return the targets: bases plus each one's bands of the residual, consistent with the input if asked for."""
        residuals = residual_BCHW.split([len(target.bands) for target in self.task.targets], 1)
        targets = [base + residual for base, residual in zip(bases, residuals, strict=True)]
        if self.projections is not None:
            measured = (inputs[place] for place in self._coarse)
            targets = [project(*each) for project, *each in zip(self.projections, targets, measured, strict=True)]
        return Outputs(tuple(targets))


def _base(options: BaseOptions, target: Target, facts: Facts) -> Bicubic | Guided:
    if options.base == "bicubic":
        return Bicubic(target.scale)
    law = _law(facts, target)
    return Guided(target.scale, law.bands, law.guides, dn_per_unit=facts.units.unit)


def _law(facts: Facts, target: Target) -> Law:
    if target.name not in facts.laws:
        raise RecipeError(
            f"base: guided and back_project need to know how {', '.join(target.bands)} were degraded",
            where="model",
            cure="train on a store that was prepared with degradation wald or mtf, or choose base: bilinear",
        )
    return facts.laws[target.name]
