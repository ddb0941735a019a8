"""Training on overlapping crops: what EnlightenGAN adds to a generator against a critic.

A patch's four crops overlap, and a network that tells the same of the same ground leaves no seams between tiles.
Source: Gong et al. 2021, https://doi.org/10.3390/rs13061104, equations 1 and 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hpc_sr.data.loader import Batch
from hpc_sr.errors import RecipeError
from hpc_sr.losses.content import mse
from hpc_sr.models.filters import bicubic_reduced
from hpc_sr.models.generator import Generator, Outputs
from hpc_sr.train.objective import Content, Objective
from hpc_sr.train.options import EnlightenTrainingOptions
from hpc_sr.train.player import Player, Update

#: The extra that a network gives in training, and the reference of it: the picture on pixels twice as large.
_HALF, _HALF_SCALE = "x2", 2
#: Crops of a patch: upper left, upper right, lower left, lower right.
_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


@dataclass(frozen=True)
class Crops:
    """Four crops of `crop_px` target pixels a side, in the corners of a patch of `patch_px`; the task's `target`."""

    target: str
    patch_px: int
    crop_px: int

    @property
    def overlap_px(self) -> int:
        """How many target pixels two neighbours share."""
        return 2 * self.crop_px - self.patch_px

    @property
    def half_px(self) -> int:
        """The side of the half-size picture of a crop."""
        return self.crop_px // _HALF_SCALE

    def of(self, batch: Batch) -> Batch:
        """Return the crops of a batch's patches in network units as a batch, those of a patch one after another.

        The reference `x2` is added: the whole patch's target is reduced, then cut. A crop has random numbers of its
        own. `samples` still counts patches.
        """
        layers = {**batch.layers, _HALF: bicubic_reduced(batch.layers[self.target], _HALF_SCALE)}
        count = len(_CORNERS)
        corners = torch.arange(count, device=batch.draws.device).repeat(len(batch.draws))
        return Batch(
            {name: self._cut(values) for name, values in layers.items()},
            batch.indices.repeat_interleave(count),
            batch.codes.repeat_interleave(count),
            batch.draws.repeat_interleave(count) + corners,
            batch.places.repeat_interleave(count) * count + corners,
            batch.samples,
        )

    def _cut(self, patches_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the crops of each patch of a layer of any stride, (4 B, C, h, w)."""
        stride = self.patch_px // patches_BCHW.shape[-1]
        side, step = self.crop_px // stride, (self.patch_px - self.crop_px) // stride
        cut = [
            patches_BCHW[..., down * step : down * step + side, right * step : right * step + side]
            for down, right in _CORNERS
        ]
        return torch.stack(cut, 1).flatten(0, 1)

    def disagreement(self, crops_BCHW: torch.Tensor) -> torch.Tensor:
        """Return sum over the four pairs of neighbours of mean (x - y)^2, x and y the two where they overlap.

        `crops_BCHW` are target pixels as `of` orders them.
        """
        upper_left, upper_right, lower_left, lower_right = crops_BCHW.unflatten(0, (-1, len(_CORNERS))).unbind(1)
        shared = self.overlap_px
        across = [(upper_left, upper_right), (lower_left, lower_right)]
        down = [(upper_left, lower_left), (upper_right, lower_right)]
        distances = [mse(one[..., -shared:], other[..., :shared]) for one, other in across]
        distances += [mse(one[..., -shared:, :], other[..., :shared, :]) for one, other in down]
        return torch.stack(distances).sum()


def crops_of(options: EnlightenTrainingOptions, generator: Generator) -> Crops:
    """Return the crops of a generator's training patches that the options describe.

    Raises RecipeError for a task of several targets, and for crops that are not whole pixels of all layers, do not
    overlap, or leave nothing of the patch.
    """
    task, target, patch_px = generator.task, generator.task.target, generator.facts.patch_px
    unit = max(task.alignment_px, _HALF_SCALE)
    crop_px = options.crop_px or patch_px * 4 // 7
    problem = None
    if options.crop_px is None and patch_px * 4 % 7:
        problem = f"four sevenths of a patch of {patch_px} px are no whole pixels"
    elif crop_px % unit or patch_px % unit:
        problem = f"{crop_px} px of {patch_px} are no multiple of {unit}, the pixels of the coarsest layer"
    elif not patch_px < 2 * crop_px < 2 * patch_px:
        problem = f"four crops of {crop_px} px do not overlap within a patch of {patch_px} px"
    if problem is not None:
        cure = f"give a multiple of {unit} between half a patch and a whole one, as 384 of 672"
        raise RecipeError(problem, where="objective.crop_px", cure=cure)
    return Crops(target.name, patch_px, crop_px)


@dataclass(frozen=True, kw_only=True)
class ContentOfCrops(Content):
    """A generator's content on crops: also how they disagree, and the half-size picture of a network that gives one."""

    crops: Crops
    inconsistency: float
    half_weight: float

    @classmethod
    def of(cls, content: Content, crops: Crops, options: EnlightenTrainingOptions) -> ContentOfCrops:
        """Return a content with what the options add to it."""
        own = {"inconsistency": options.inconsistency, "half_weight": options.half_weight, "crops": crops}
        return cls(**{**vars(content), **own})

    def compared(self, outputs: Outputs, batch: Batch) -> dict[str, torch.Tensor]:
        """Return the losses by name: of the target, `inconsistency`, and of the half-size picture `x2`."""
        losses = super().compared(outputs, batch)
        if self.inconsistency:
            losses["inconsistency"] = self.inconsistency * self.crops.disagreement(outputs.targets[0])
        if _HALF in outputs.extras:
            estimate, reference = outputs.extras[_HALF], batch.layers[_HALF]
            losses[_HALF] = self.half_weight * self.loss(estimate, reference)
            if self.perceptual is not None and not self.is_alone(batch):
                losses[f"{_HALF}_perceptual"] = self.half_weight * self.perceptual([estimate], [reference])
        return losses


@dataclass(frozen=True)
class Enlightened:
    """An objective that sees the crops of its patches instead of them."""

    aim: Objective
    crops: Crops

    @property
    def players(self) -> tuple[Player, ...]:
        return self.aim.players

    @property
    def best_by(self) -> str | None:
        return self.aim.best_by

    def __call__(self, batch: Batch) -> Update:
        """Update every player once by the crops of a batch."""
        return self.aim(self.crops.of(batch))
