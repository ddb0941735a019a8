"""Critics: networks that score how real an image looks. (B, bands, H, W) in network units -> (B, 1, h, w) or (B, 1).

All are tables of convolutions with LeakyReLU(0.2). Their norms stand after every convolution but the first and the
last, and take over its bias.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from hpc_sr.models.critic_options import CriticSection, LightS2DOptions, PatchGANOptions, S2DOptions, VGGCriticOptions
from hpc_sr.models.facts import Facts
from hpc_sr.tasks import Task

_NORMS: dict[str, Callable[[int], list[nn.Module]]] = {
    "none": lambda channels: [],
    "batch": lambda channels: [nn.BatchNorm2d(channels)],
    "instance": lambda channels: [nn.InstanceNorm2d(channels, affine=True)],
}
#: Channels, kernel and stride of a convolution. Zero padding of 1.
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
    linear = [nn.Linear(widths[-1] * side * side, options.hidden), nn.Linear(options.hidden, 1)]
    first, last = (spectral_norm(layer) if options.spectral_norm else layer for layer in linear)
    stack = _stack(task, rows, options, biases=options.bias == "all")
    return nn.Sequential(*stack, nn.Flatten(), first, nn.LeakyReLU(0.2), last)


def _widths(first: int, stages: int) -> list[int]:
    """Return channels that double from stage to stage, up to eight times the first."""
    return [first * min(2**stage, 8) for stage in range(stages)]


def _stack(task: Task, rows: Iterable[Row], options: CriticSection, biases: bool = True) -> list[nn.Module]:
    """Return the convolutions; without `biases` the first alone has one."""
    layers: list[nn.Module] = []
    before, norm, bias = len(task.bands), "none", True
    for channels, kernel, stride in rows:
        layers += [*_conv(before, channels, kernel, stride, options, norm, bias), nn.LeakyReLU(0.2)]
        before, norm, bias = channels, options.norm, biases
    return layers


def _conv(
    before: int, channels: int, kernel: int, stride: int, options: CriticSection, norm: str = "none", bias: bool = True
) -> list[nn.Module]:
    layer = nn.Conv2d(before, channels, kernel, stride, padding=1, bias=bias and norm == "none")
    return [spectral_norm(layer) if options.spectral_norm else layer, *_NORMS[norm](channels)]
