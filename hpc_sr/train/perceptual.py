"""The perceptual term of an objective: which bands of the targets a trained network sees, and as what.

The network is VGG with published weights, or the encoder of an autoencoder that was trained here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from hpc_sr.errors import CheckpointError, RecipeError
from hpc_sr.losses.content import CONTENT_LOSSES, Distance, perceptual
from hpc_sr.models.autoencoder import PLACES, Autoencoder, Encoder
from hpc_sr.models.generator import Generator
from hpc_sr.models.precision import autocast
from hpc_sr.models.vgg import least_px
from hpc_sr.tasks import REFLECTANCE, Units, shown_bands
from hpc_sr.train.options import PerceptualOptions
from hpc_sr.weights.trained import load_trained
from hpc_sr.weights.vgg import load_vgg

#: Reflectance x 10 000 that VGG sees as white, where nothing else is said: bright land.
_WHITE = 3000.0
_VGG_LAYERS = ("relu3_1",)


class Trunk(Protocol):
    """A trained network that is looked into."""

    def features(self, picture_BCHW: torch.Tensor, layers: Collection[str]) -> list[torch.Tensor]:
        """Return what comes out of the layers, in the network's order; gradients flow to the picture."""


@dataclass(frozen=True)
class PerceptualTerm:
    """`weight` x the perceptual loss of three bands, `channels` of all targets' bands, times `gain`, as a picture."""

    trunk: Trunk
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
    options: PerceptualOptions, generator: Generator, precision: str, device: torch.device, patch_px: int | None = None
) -> PerceptualTerm:
    """Return the term that the options describe, with its weights on the device.

    `patch_px` is the side of the smallest picture that is compared, the store's patches' if not given. Raises
    MissingComponentError if the weights do not hold the layers, CheckpointError if the autoencoder is none or did not
    finish; RecipeError for bands that the task's targets lack, and for patches of which a layer sees nothing.
    """
    bands, patch_px = generator.task.bands, patch_px or generator.facts.patch_px
    shown = options.bands or shown_bands(bands)
    unknown = [band for band in shown if band not in bands]
    if unknown:
        raise RecipeError(
            f"{unknown[0]!r} is no band of task {generator.task.name}'s targets",
            where="objective.perceptual.bands",
            cure=f"choose of {', '.join(bands)}",
        )
    layers = tuple(dict.fromkeys(options.layers or (_VGG_LAYERS if options.autoencoder is None else PLACES)))
    deepest = max(layers, key=least_px)
    if patch_px < least_px(deepest):
        raise RecipeError(
            f"{deepest} needs patches of {least_px(deepest)} px or more, there are some of {patch_px} px",
            where="objective.perceptual.layers",
            cure="choose layers of earlier stages, or prepare larger patches",
        )
    trunk: Trunk
    if options.autoencoder is not None:
        trunk = load_encoder(options.autoencoder, layers, device)
    else:
        assert options.vgg is not None
        trunk = load_vgg(Path(options.vgg), layers, device)
    channels = tuple(bands.index(band) for band in (shown if len(shown) == 3 else shown * 3))
    gain = generator.units.unit / (options.white or _white(generator.units))
    return PerceptualTerm(trunk, layers, channels, gain, options.weight, CONTENT_LOSSES[options.distance], precision)


def load_encoder(run: str, layers: Collection[str], device: torch.device) -> Encoder:
    """Return the encoder of an autoencoder's run, a checkpoint folder or an exported one, without anything to learn.

    Raises CheckpointError if it is another network, or one that did not finish; RecipeError for layers that it does
    not compare.
    """
    unknown = sorted(set(layers) - set(PLACES))
    if unknown:
        raise RecipeError(
            f"an autoencoder has no {unknown[0]} to compare",
            where="objective.perceptual.layers",
            cure=f"choose of {', '.join(PLACES)}",
        )
    trained = load_trained(run)
    if not isinstance(trained.generator, Autoencoder):
        raise CheckpointError(
            f"is of family {trained.card.model.family}", where=Path(run), cure="give a run of family autoencoder"
        )
    encoder = trained.generator.encoder
    if not (encoder.variances > 0).all():
        raise CheckpointError(
            f"step {trained.card.step} holds no variances of its layers: they are measured when a run finishes",
            where=Path(run),
            cure="let the run finish, with objective.best_by: newest, or give the checkpoint it ended with",
        )
    return encoder.requires_grad_(False).to(device)


def _white(units: Units) -> float:
    return _WHITE if units.stored in (REFLECTANCE, "") else units.peak
