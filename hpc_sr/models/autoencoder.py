"""The autoencoder of EnlightenGAN: VGG19's convolutions learn to make a picture small, others to make it large again.

Its task, `autoencode`, has the picture as input and as target, so all that trains, checks and shows a network does so
here too. What its encoder sees is what the perceptual loss compares, each layer divided by its deviation.
Source: Gong et al. 2021, https://doi.org/10.3390/rs13061104.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from hpc_sr.errors import RecipeError
from hpc_sr.models.blocks import conv3, init_he_uniform
from hpc_sr.models.facts import Facts
from hpc_sr.models.generator import Generator, Outputs
from hpc_sr.models.options import AutoencoderOptions
from hpc_sr.models.reach import Reach
from hpc_sr.tasks import Task

#: Channels of the stages in units of `width`, and the convolutions of each: VGG19's.
_WIDTHS, _COUNTS = (1, 2, 4, 8, 8), (2, 2, 4, 4, 4)
#: Where the layers that are compared stand, counted from 0: convolutions, ReLUs and resampling alike.
PLACES = {"relu1_2": 3, "relu2_2": 8, "relu3_4": 17, "conv5_4": 34}
#: Target pixels of a pixel of the last stage.
STRIDE_PX = 2 ** (len(_COUNTS) - 1)
#: How far the last stage's features look, and how far from its own pixel a result looks for features.
_REACH = Reach(before_px=118, after_px=148)


class Autoencoder(Generator):
    """With 64 channels in the first stage the encoder has 20,024,384 parameters, the decoder 20,023,875.

    Raises RecipeError for patches whose sides are no multiples of 16.
    """

    reach: Reach | None = _REACH

    def __init__(self, task: Task, options: AutoencoderOptions, facts: Facts):
        if facts.patch_px % STRIDE_PX:
            raise RecipeError(
                f"family autoencoder needs patches of a multiple of {STRIDE_PX} px, the store has {facts.patch_px} px",
                where="model",
                cure="prepare other patches, or choose another family",
            )
        super().__init__(task, facts, options.width)
        self.encoder = Encoder(len(task.bands), options.width)
        self.decoder = nn.Sequential(*_decoder(len(task.bands), options.width))
        init_he_uniform(self)

    @property
    def multiple_px(self) -> int:
        return STRIDE_PX

    def forward(self, *inputs_BCHW: torch.Tensor) -> Outputs:
        (picture_BCHW,) = inputs_BCHW
        picture_BCHW = picture_BCHW.contiguous(memory_format=torch.channels_last)
        return Outputs((self.decoder(self.encoder(picture_BCHW)),))

    def settle(self, pictures: Iterator[tuple[torch.Tensor, ...]], total: Callable[[np.ndarray], np.ndarray]) -> None:
        """Measure the variance of each layer that is compared, over all values of all training patches."""
        self.encoder.measure((picture for (picture,) in pictures), total)


class Encoder(nn.Module):
    """VGG19's 36 layers, without norms, each pooling the upper left of 2 x 2 pixels.

    `variances` are those of the layers of PLACES, in order: 0 until `measure` was called.
    """

    variances: torch.Tensor

    def __init__(self, bands: int, width: int):
        super().__init__()
        layers: list[nn.Module] = []
        before = bands
        for stage, (times, count) in enumerate(zip(_WIDTHS, _COUNTS, strict=True)):
            layers += [Halved()] * (stage > 0)
            for _ in range(count):
                layers += [conv3(before, times * width), nn.ReLU(inplace=True)]
                before = times * width
        self.layers = nn.Sequential(*layers)
        self.register_buffer("variances", torch.zeros(len(PLACES)))

    def forward(self, picture_BCHW: torch.Tensor) -> torch.Tensor:
        return self.layers(picture_BCHW)

    def features(self, picture_BCHW: torch.Tensor, layers: Collection[str]) -> list[torch.Tensor]:
        """Return what comes out of some layers of PLACES, in order, divided by their deviations.

        The mean squared difference of a layer is then that of its features divided by v_l, their variance.
        """
        deviations = dict(zip(PLACES, self.variances.sqrt(), strict=True))
        seen = zip(PLACES, self._seen(picture_BCHW), strict=True)
        return [features / deviations[name] for name, features in seen if name in layers]

    def measure(self, pictures: Iterator[torch.Tensor], total: Callable[[np.ndarray], np.ndarray]) -> None:
        """Set `variances` to E phi^2 - (E phi)^2 over pictures; `total` adds a rank's sums to those of the others."""
        sums = np.zeros((3, len(PLACES)))
        with torch.no_grad():
            for picture in pictures:
                for place, features in enumerate(self._seen(picture.contiguous(memory_format=torch.channels_last))):
                    exact = features.double()
                    sums[:, place] += [exact.numel(), float(exact.sum()), float(exact.square().sum())]
            count, first, second = total(sums)
            self.variances.copy_(torch.from_numpy(second / count - (first / count) ** 2))

    def _seen(self, picture_BCHW: torch.Tensor) -> Iterator[torch.Tensor]:
        out = picture_BCHW
        for place, layer in enumerate(self.layers):
            out = layer(out)
            if place in PLACES.values():
                yield out
            if place == max(PLACES.values()):
                return


class Halved(nn.Module):
    """Every other pixel of every other row, from the first on."""

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        return x_BCHW[..., ::2, ::2]


class Doubled(nn.Module):
    """The map on pixels half as large, bilinear."""

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        # Its weights are quarters: exact in any type, wherever a window begins.
        return F.interpolate(x_BCHW, scale_factor=2, mode="bilinear", align_corners=False)


def _decoder(bands: int, width: int) -> Iterator[nn.Module]:
    """Yield the encoder's convolutions in reverse, each stage's last one narrowing, without a ReLU at the end."""
    for stage in reversed(range(len(_COUNTS))):
        own = _WIDTHS[stage] * width
        after = _WIDTHS[stage - 1] * width if stage else bands
        for number in range(_COUNTS[stage]):
            is_last = number == _COUNTS[stage] - 1
            yield conv3(own, after if is_last else own)
            if stage or not is_last:
                yield nn.ReLU(inplace=True)
        if stage:
            yield Doubled()
