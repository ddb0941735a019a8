"""RRSGAN: a picture made four times finer with a high-resolution one of the same ground, of another date or sensor.

Features of the reference are moved to where the picture has them, by deformable convolutions, and then taken as far
as they fit. RRSNet is the same network, trained without critics.

Source: Dong et al. 2022, https://doi.org/10.1109/TGRS.2020.3046045. Levels are counted from the target's grid: one of
1, 2 and 4 target pixels a pixel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from hpc_sr.models.blocks import ResidualBlock, bilinear, conv3, subpixel
from hpc_sr.models.deformable import DeformConv
from hpc_sr.models.facts import Facts
from hpc_sr.models.filters import at_least_float32, bicubic, bicubic_reduced
from hpc_sr.models.generator import Generator, Outputs
from hpc_sr.models.gradients import gradient_map
from hpc_sr.models.picture_options import RRSGANOptions
from hpc_sr.tasks import Task

_SLOPE = 0.1
#: Channels between the two convolutions of a relevance map.
_NARROW = 32

#: Features on the three levels, the finest first.
Levels = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class RRSGAN(Generator):
    """16 blocks of 64 channels, gradients of 16: 7,984,899 parameters. Its shifts have no bound, so `reach` is None.

    With zeros as last convolution it returns the bilinear enlargement of the picture.
    """

    def __init__(self, task: Task, options: RRSGANOptions, facts: Facts):
        features, bands = options.width + options.gradient_width, len(task.bands)
        # Three encoded images, shifts and places of every group, and what is moved: measured as six maps of features.
        super().__init__(task, facts, 6 * features)
        self.scale = task.scale
        self.encoder, self.gradient_encoder = (_Encoder(bands, n) for n in (options.width, options.gradient_width))
        self.alignment = _Alignment(features, options.width, options.groups)
        self.content = _Content(bands, options)
        self.small, self.medium, self.large = (_Transfer(options) for _ in range(3))
        self.finer_small, self.finer_medium = (subpixel(options.width, _leaky()) for _ in range(2))
        self.last = nn.Sequential(conv3(options.width, options.width // 2), _leaky(), conv3(options.width // 2, bands))

    def forward(self, *inputs_BCHW: torch.Tensor) -> Outputs:
        coarse_BChw, reference_BCHW = inputs_BCHW
        enlarged = bicubic(at_least_float32(coarse_BChw), self.scale)
        seen = [self._encoded(x) for x in (reference_BCHW, _blurred(reference_BCHW, self.scale), enlarged)]
        fine, middle, coarse = self.alignment(*seen)
        x = self.content(coarse_BChw)
        x = self.finer_small(self.small(coarse, x))
        x = self.finer_medium(self.medium(middle, x))
        detail = self.last(self.large(fine, x))
        return Outputs((bilinear(coarse_BChw, self.scale) + detail,))

    def _encoded(self, x_BCHW: torch.Tensor) -> Levels:
        """Return the features of an image and of its gradients, one upon another."""
        colours, gradients = self.encoder(x_BCHW), self.gradient_encoder(gradient_map(x_BCHW))
        fine, middle, coarse = (torch.cat(pair, 1) for pair in zip(colours, gradients, strict=True))
        return fine, middle, coarse


def _blurred(reference_BCHW: torch.Tensor, scale: int) -> torch.Tensor:
    """Return the reference as coarse as the picture and enlarged again: as blurred as the enlarged picture."""
    return bicubic(bicubic_reduced(at_least_float32(reference_BCHW), scale), scale)


class _Encoder(nn.Module):
    """Two convolutions of 5x5 on the target's grid, and one that halves it for each further level; SELU."""

    def __init__(self, bands: int, width: int):
        super().__init__()
        self.first = nn.Conv2d(bands, width, 5, padding=2)
        self.fine = nn.Conv2d(width, width, 5, padding=2)
        self.middle, self.coarse = (nn.Conv2d(width, width, 5, stride=2, padding=2) for _ in range(2))

    def forward(self, x_BCHW: torch.Tensor) -> Levels:
        fine = F.selu(self.fine(F.selu(self.first(x_BCHW))))
        middle = F.selu(self.middle(fine))
        return fine, middle, F.selu(self.coarse(middle))


class _Alignment(nn.Module):
    """Moves the reference's features to the picture's, from the coarsest level up, and once more on the finest.

    Shifts are read off the blurred reference and the enlarged picture, which look alike; the sharp reference is what
    is moved. A level passes on what it read its shifts off, doubled, and what it moved.
    """

    def __init__(self, features: int, width: int, groups: int):
        super().__init__()
        self.coarse, self.middle, self.fine = (
            _Shift(features, groups, coarser=coarser) for coarser in (False, True, True)
        )
        self.cascade = _Shift(features, groups, coarser=False)
        self.out_coarse, self.out_fine = (_mixed(features, width) for _ in range(2))
        self.out_middle = _mixed(features + width, width)
        self.joined = conv3(features + width, features)

    def forward(self, reference: Levels, blurred: Levels, picture: Levels) -> Levels:
        """Return the moved features of each level, of `width` channels."""
        moved, guide = self.coarse(reference[2], blurred[2], picture[2])
        coarse = self.out_coarse(moved)
        moved, guide = self.middle(reference[1], blurred[1], picture[1], guide)
        middle = self.out_middle(torch.cat([moved, _doubled(coarse)], 1))
        moved, _ = self.fine(reference[0], blurred[0], picture[0], guide)
        joined = self.joined(torch.cat([moved, _doubled(middle)], 1))
        moved, _ = self.cascade(joined, joined, picture[0])
        return self.out_fine(moved), middle, coarse


class _Shift(nn.Module):
    """Features moved by what two others, and the guide of the level below (`coarser`), say; and its own guide."""

    def __init__(self, features: int, groups: int, coarser: bool):
        super().__init__()
        self.pair = _mixed(2 * features, features)
        self.with_coarser = _mixed(2 * features, features) if coarser else None
        self.guide = _mixed(features, features)
        self.move = DeformConv(features, features, groups)

    def forward(
        self, x_BCHW: torch.Tensor, there: torch.Tensor, here: torch.Tensor, guide_BChw: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        guide = self.pair(torch.cat([there, here], 1))
        if self.with_coarser is not None:
            assert guide_BChw is not None
            guide = self.with_coarser(torch.cat([guide, 2 * _doubled(guide_BChw)], 1))
        guide = self.guide(guide)
        return self.move(x_BCHW, guide), guide


class _Content(nn.Module):
    """Features of the picture on its own grid."""

    def __init__(self, bands: int, options: RRSGANOptions):
        super().__init__()
        self.first, self.blocks = _mixed(bands, options.width), _blocks(options)

    def forward(self, x_BChw: torch.Tensor) -> torch.Tensor:
        features = self.first(x_BChw)
        return features + self.blocks(features)


class _Transfer(nn.Module):
    """Features of the picture with what fits of the reference's added on one level."""

    def __init__(self, options: RRSGANOptions):
        super().__init__()
        self.relevance = RelevanceAttention(options.width)
        self.first, self.blocks = _mixed(2 * options.width, options.width), _blocks(options)

    def forward(self, reference_BCHW: torch.Tensor, x_BCHW: torch.Tensor) -> torch.Tensor:
        fitting = self.relevance(reference_BCHW, x_BCHW)
        return x_BCHW + self.blocks(self.first(torch.cat([x_BCHW, fitting], 1)))


class RelevanceAttention(nn.Module):
    """f * sigmoid(m) + b, where m and b are two convolutions each of [f, c]: f is the reference, c the picture.

    With zero weights it is f / 2.
    """

    def __init__(self, width: int):
        super().__init__()
        self.factor, self.summand = (
            nn.Sequential(conv3(2 * width, _NARROW), _leaky(), conv3(_NARROW, width)) for _ in range(2)
        )

    def forward(self, reference_BCHW: torch.Tensor, x_BCHW: torch.Tensor) -> torch.Tensor:
        both = torch.cat([reference_BCHW, x_BCHW], 1)
        return reference_BCHW * torch.sigmoid(self.factor(both)) + self.summand(both)


def _doubled(x_BCHW: torch.Tensor) -> torch.Tensor:
    """Return the map on a grid twice as fine, linear between pixels: the library's way, far less work for features."""
    size = [2 * side for side in x_BCHW.shape[2:]]
    return F.interpolate(x_BCHW, size=size, mode="bilinear", align_corners=False)


def _leaky() -> nn.LeakyReLU:
    return nn.LeakyReLU(_SLOPE, inplace=True)


def _mixed(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(conv3(channels_in, channels_out), _leaky())


def _blocks(options: RRSGANOptions) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(options.width, scale=1.0) for _ in range(options.blocks)))
