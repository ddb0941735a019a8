"""Critics: networks that score how real an image looks. (B, bands, H, W) in network units -> (B, 1, h, w) or (B, 1).

All are tables of convolutions with LeakyReLU(0.2). Their norms stand after every convolution but the first and the
last, and take over its bias, but in `srgan`, whose published size has both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from hpc_sr.models.critic_options import (
    CriticSection,
    EEGANCriticOptions,
    LightS2DOptions,
    MSFMCriticOptions,
    PatchGANOptions,
    S2DOptions,
    SRGANCriticOptions,
    VGGCriticOptions,
)
from hpc_sr.models.facts import Facts
from hpc_sr.tasks import Task

_NORMS: dict[str, Callable[[int], list[nn.Module]]] = {
    "none": lambda channels: [],
    "batch": lambda channels: [nn.BatchNorm2d(channels)],
    "instance": lambda channels: [nn.InstanceNorm2d(channels, affine=True)],
}
#: Side of the map that SRGAN's critic decides on.
_DECIDING_PX = 6
#: Channels, kernel and stride of a convolution. Zero padding of (kernel - 1) // 2.
Row = tuple[int, int, int]


def s2d(task: Task, options: S2DOptions, facts: Facts) -> nn.Sequential:
    """Return three stages of a 3x3 and a halving 4x4 convolution: a score for each 8 x 8 pixels, that sees 52."""
    rows = [row for width in _widths(options.width, 3) for row in ((width, 3, 1), (width, 4, 2))]
    return nn.Sequential(*_stack(task, rows, options), *_conv(4 * options.width, 1, 3, 1, options))


def light_s2d(task: Task, options: LightS2DOptions, facts: Facts) -> nn.Sequential:
    """Return the halving convolutions of `s2d` alone, for where that wins too soon."""
    rows = [(width, 4, 2) for width in _widths(options.width, 3)]
    return nn.Sequential(*_stack(task, rows, options), *_conv(4 * options.width, 1, 3, 1, options))


def patchgan(task: Task, options: PatchGANOptions, facts: Facts) -> nn.Sequential:
    """Return PatchGAN (Isola et al. 2017, https://arxiv.org/abs/1611.07004): each score sees 70 x 70 pixels."""
    widths = _widths(options.width, 4)
    rows = [*((width, 4, 2) for width in widths[:3]), (widths[3], 4, 1)]
    return nn.Sequential(*_stack(task, rows, options), *_conv(widths[3], 1, 4, 1, options))


def vgg(task: Task, options: VGGCriticOptions, facts: Facts) -> nn.Sequential:
    """Return the critic of ESRGAN (Wang et al. 2018, https://arxiv.org/abs/1809.00219): one score for a patch.

    Stages of a 3x3 and a halving 4x4 convolution, then two linear layers: it takes patches of one size only.
    """
    widths = _widths(options.width, options.stages)
    rows = [row for width in widths for row in ((width, 3, 1), (width, 4, 2))]
    side = facts.patch_px >> options.stages
    deciding = _deciding(widths[-1] * side * side, options)
    stack = _stack(task, rows, options, biased=None if options.bias == "all" else False)
    return nn.Sequential(*stack, *deciding)


def srgan(task: Task, options: SRGANCriticOptions, facts: Facts) -> nn.Sequential:
    """Return the critic of SRGAN (Ledig et al. 2017, https://arxiv.org/abs/1609.04802): one score for a patch.

    Four stages of a 3x3 and a halving 3x3 convolution, an average to 6 x 6, two linear layers. It sees 2 x - 1 of a
    picture x.
    """
    rows = [row for width in _widths(options.width, 4) for row in ((width, 3, 1), (width, 3, 2))]
    deciding = _deciding(8 * options.width * _DECIDING_PX**2, options)
    stack = _stack(task, rows, options, biased=True)
    return nn.Sequential(_AboutZero(), *stack, _Averaged(_DECIDING_PX), *deciding)


def msfm(task: Task, options: MSFMCriticOptions, facts: Facts) -> nn.Sequential:
    """Return the critic of MSFM-GAN (Zhou et al. 2019): a score for each 8 x 8 pixels, that sees 55.

    A halving 5x5 convolution, then 3x3 ones, the first two followed by the maxima of 2 x 2.
    """
    first, *others = _widths(options.width, 4)
    rows = [(first, 5, 2), *((width, 3, 1) for width in others)]
    return nn.Sequential(*_stack(task, rows, options, pooled=(1, 2)), *_conv(others[-1], 1, 3, 1, options))


def eegan(task: Task, options: EEGANCriticOptions, facts: Facts) -> nn.Sequential:
    """Return the critic of EEGAN (Jiang et al. 2019, https://doi.org/10.1109/TGRS.2019.2902431): one score for a patch.

    Six 3x3 convolutions, the third to the fifth followed by the means of 2 x 2, an average to `deciding_px` x
    `deciding_px`, two linear layers. It sees 2 x - 1 of a picture x.
    """
    rows = [(options.width * factor, 3, 1) for factor in (1, 1, 2, 4, 8, 16)]
    deciding = _deciding(rows[-1][0] * options.deciding_px**2, options)
    stack = _stack(task, rows, options, pooled=(2, 3, 4), pooling=nn.AvgPool2d)
    return nn.Sequential(_AboutZero(), *stack, _Averaged(options.deciding_px), *deciding)


def _deciding(features: int, options: VGGCriticOptions | SRGANCriticOptions | EEGANCriticOptions) -> list[nn.Module]:
    """Return two linear layers that make one score of all features of a map."""
    linear = [nn.Linear(features, options.hidden), nn.Linear(options.hidden, 1)]
    first, last = (spectral_norm(layer) if options.spectral_norm else layer for layer in linear)
    return [nn.Flatten(), first, nn.LeakyReLU(0.2), last]


class _AboutZero(nn.Module):
    """A picture of 0..1 as -1..1."""

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        return 2 * x_BCHW - 1


class _Averaged(nn.Module):
    """A map as the means of `size_px` x `size_px` parts, which overlap where they do not divide it.

    What the library's adaptive average is, as products: the gradient of that has no fixed order of sums on a GPU.
    """

    def __init__(self, size_px: int):
        super().__init__()
        self.size_px = size_px

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        down, across = (self._parts(side, x_BCHW) for side in x_BCHW.shape[2:])
        return down @ x_BCHW @ across.mT

    def _parts(self, side: int, like: torch.Tensor) -> torch.Tensor:
        """Return what the pixels along a side count in each part's mean, (size_px, side)."""
        part = torch.arange(self.size_px, device=like.device)[:, None]
        pixel = torch.arange(side, device=like.device)
        inside = (pixel >= part * side // self.size_px) & (pixel * self.size_px < (part + 1) * side)
        return (inside / inside.sum(1, keepdim=True)).to(like.dtype)


def _widths(first: int, stages: int) -> list[int]:
    """Return channels that double from stage to stage, up to eight times the first."""
    return [first * min(2**stage, 8) for stage in range(stages)]


def _stack(
    task: Task,
    rows: Iterable[Row],
    options: CriticSection,
    biased: bool | None = None,
    pooled: Collection[int] = (),
    pooling: Callable[[int], nn.Module] = nn.MaxPool2d,
) -> list[nn.Module]:
    """Return the rows' layers; those numbered in `pooled` end with the `pooling` of 2 x 2.

    `biased` is whether the convolutions after the first have a bias; if not given, where no norm takes it over.
    """
    layers: list[nn.Module] = []
    before, norm, bias = len(task.bands), "none", True
    for number, (channels, kernel, stride) in enumerate(rows):
        layers += [*_conv(before, channels, kernel, stride, options, norm, bias), nn.LeakyReLU(0.2)]
        layers += [pooling(2)] if number in pooled else []
        before, norm, bias = channels, options.norm, options.norm == "none" if biased is None else biased
    return layers


def _conv(
    before: int, channels: int, kernel: int, stride: int, options: CriticSection, norm: str = "none", bias: bool = True
) -> list[nn.Module]:
    layer = nn.Conv2d(before, channels, kernel, stride, padding=(kernel - 1) // 2, bias=bias)
    return [spectral_norm(layer) if options.spectral_norm else layer, *_NORMS[norm](channels)]
