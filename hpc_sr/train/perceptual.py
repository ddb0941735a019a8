"""The perceptual term of an objective: which bands of the targets VGG sees, and as what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from hpc_sr.errors import RecipeError
from hpc_sr.losses.content import CONTENT_LOSSES, Distance, perceptual
from hpc_sr.models.generator import Generator
from hpc_sr.models.precision import autocast
from hpc_sr.models.vgg import VGG, least_px
from hpc_sr.tasks import REFLECTANCE, Units, shown_bands
from hpc_sr.train.options import PerceptualOptions
from hpc_sr.weights.vgg import load_vgg

#: Reflectance x 10 000 that VGG sees as white, where nothing else is said: bright land.
_WHITE = 3000.0


@dataclass(frozen=True)
class PerceptualTerm:
    """`weight` x the perceptual loss of three bands, `channels` of all targets' bands, times `gain`, as a picture."""

    trunk: VGG
    layers: tuple[str, ...]
    channels: tuple[int, ...]
    gain: float
    weight: float
    distance: Distance
    precision: str

    def __call__(self, estimates: Sequence[torch.Tensor], references: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the term of all targets together, in network units; gradients flow to the estimates."""
        fake = self._features(estimates)
        with torch.no_grad():
            real = self._features(references)
        return self.weight * perceptual(fake, real, self.distance)

    def _features(self, targets: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        # Not clipped to 0..1: that would take the gradient from whatever is bright.
        bands = torch.cat(list(targets), 1).unbind(1)
        picture = self.gain * torch.stack([bands[channel] for channel in self.channels], 1)
        with autocast(picture.device, self.precision):
            return [features.float() for features in self.trunk.features(picture, self.layers)]


def open_perceptual(
    options: PerceptualOptions, generator: Generator, precision: str, device: torch.device
) -> PerceptualTerm:
    """Return the term that the options describe, with its weights on the device.

    Raises MissingComponentError if the weights do not hold the layers; RecipeError for bands that the task's targets
    lack, and for patches of which a layer sees nothing.
    """
    bands, patch_px, layers = generator.task.bands, generator.facts.patch_px, tuple(dict.fromkeys(options.layers))
    shown = options.bands or shown_bands(bands)
    unknown = [band for band in shown if band not in bands]
    if unknown:
        raise RecipeError(
            f"{unknown[0]!r} is no band of task {generator.task.name}'s targets",
            where="objective.perceptual.bands",
            cure=f"choose of {', '.join(bands)}",
        )
    deepest = max(layers, key=least_px)
    if patch_px < least_px(deepest):
        raise RecipeError(
            f"{deepest} needs patches of {least_px(deepest)} px or more, the store has {patch_px} px",
            where="objective.perceptual.layers",
            cure="choose layers of earlier stages, or prepare larger patches",
        )
    trunk = load_vgg(Path(options.vgg), layers, device)
    channels = tuple(bands.index(band) for band in (shown if len(shown) == 3 else shown * 3))
    gain = generator.units.unit / (options.white or _white(generator.units))
    return PerceptualTerm(trunk, layers, channels, gain, options.weight, CONTENT_LOSSES[options.distance], precision)


def _white(units: Units) -> float:
    return _WHITE if units.stored in (REFLECTANCE, "") else units.peak
