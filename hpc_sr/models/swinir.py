"""SwinIR: transformer layers within windows on the small picture, every other one on windows moved by half.

Source: Liang et al. 2021, https://arxiv.org/abs/2108.10257; windows: Liu et al. 2021, https://arxiv.org/abs/2103.14030.
Names of tensors are those of the published weights.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from hpc_sr.models.blocks import SUBPIXEL_FACTORS, conv3, subpixel_chain
from hpc_sr.models.facts import Facts
from hpc_sr.models.picture_options import SwinIROptions
from hpc_sr.models.reach import Reach
from hpc_sr.models.single_image import OfMeanColour
from hpc_sr.models.spans import Span, around, before_subpixel, coarser, farthest_px, within_windows
from hpc_sr.models.windows import check_sides, check_windows
from hpc_sr.tasks import Task

#: The mean colour of DIV2K, which the published networks take off and add again.
_MEAN = (0.4488, 0.4371, 0.4040)
_DEVIATION, _SLOPE, _STAGED_WIDTH = 0.02, 0.01, 64


class SwinIR(OfMeanColour):
    """Of 4 stages of 60 channels, `direct`: 929,628 parameters at x4, 918,267 at x3 and 910,152 at x2.

    6 stages of 180 channels, `staged`, have 11,900,199 at x4. The light network's published counts (897, 886, 878
    thousand) leave out the tables of places.
    """

    def __init__(self, task: Task, options: SwinIROptions, facts: Facts):
        width, window_px = options.width, options.window_px
        seen = farthest_px(lambda span: _seen(span, task.scale, options), task.scale, task.scale * window_px)
        super().__init__(task, facts, Reach(seen, 0), -(-3 * width // task.scale**2), options.base, _MEAN)
        self.window_px = window_px
        check_windows(options.family, facts.patch_px, self.multiple_px)
        self.conv_first = conv3(self.bands, width)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(width)})
        self.layers = nn.ModuleList(_Stage(options) for _ in range(options.stages))
        self.norm = nn.LayerNorm(width)
        self.conv_after_body = conv3(width, width)
        self.conv_before_upsample: nn.Module
        self.conv_last: nn.Module
        if options.enlargement == "direct":
            self.upsample = nn.Sequential(conv3(width, self.bands * task.scale**2), nn.PixelShuffle(task.scale))
            self.conv_before_upsample, self.conv_last = nn.Identity(), nn.Identity()
        else:
            self.conv_before_upsample = nn.Sequential(conv3(width, _STAGED_WIDTH), nn.LeakyReLU(_SLOPE))
            self.upsample, self.conv_last = subpixel_chain(_STAGED_WIDTH, task.scale), conv3(_STAGED_WIDTH, self.bands)
        self.apply(_initialise)

    @property
    def multiple_px(self) -> int:
        return math.lcm(super().multiple_px, self.scale * self.window_px)

    def finer(self, coarse_BChw: torch.Tensor) -> torch.Tensor:
        check_sides(coarse_BChw, self.window_px, self.window_px)
        first = self.conv_first(coarse_BChw - self.mean)
        features = self.patch_embed["norm"](first.permute(0, 2, 3, 1))
        for stage in self.layers:
            features = stage(features)
        deep = self.conv_after_body(self.norm(features).permute(0, 3, 1, 2))
        return self.conv_last(self.upsample(self.conv_before_upsample(first + deep)))


class _Stage(nn.Module):
    """x + a convolution of what the layers make of x, places last but one: (B, H, W, C)."""

    def __init__(self, options: SwinIROptions):
        super().__init__()
        blocks = nn.Sequential(*(_Layer(options, moved=bool(number % 2)) for number in range(options.layers)))
        self.residual_group = nn.ModuleDict({"blocks": blocks})
        self.conv = conv3(options.width, options.width)

    def forward(self, x_BHWC: torch.Tensor) -> torch.Tensor:
        inner = self.residual_group["blocks"](x_BHWC)
        return x_BHWC + self.conv(inner.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class _Layer(nn.Module):
    """x + attention(norm(x)) within windows, then x + W gelu(V norm(x)); `moved` windows begin half of one earlier."""

    def __init__(self, options: SwinIROptions, moved: bool):
        super().__init__()
        width, self.window_px = options.width, options.window_px
        self.shift_px = self.window_px // 2 if moved else 0
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = _Attention(options)
        inner = options.mlp_ratio * width
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, inner), "fc2": nn.Linear(inner, width)})

    def forward(self, x_BHWC: torch.Tensor) -> torch.Tensor:
        mixed = self._within_windows(self.norm1(x_BHWC))
        x_BHWC = x_BHWC + mixed
        return x_BHWC + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x_BHWC))))

    def _within_windows(self, x_BHWC: torch.Tensor) -> torch.Tensor:
        side, shift = self.window_px, self.shift_px
        batch, height, width, channels = x_BHWC.shape
        if not shift:
            return _joined(self.attn(_cut(x_BHWC, side), None), side, height, width)
        rolled = torch.roll(x_BHWC, (-shift, -shift), (1, 2))
        # What a window holds from the other end of the picture is no neighbour.
        region = _regions(height, side, shift, x_BHWC)[:, None] * 3 + _regions(width, side, shift, x_BHWC)
        region_WN = _cut(region[None, :, :, None], side)[..., 0]
        apart_WNN = region_WN[:, :, None] != region_WN[:, None, :]
        mixed = _joined(self.attn(_cut(rolled, side), apart_WNN.repeat(batch, 1, 1)), side, height, width)
        return torch.roll(mixed, (shift, shift), (1, 2))


class _Attention(nn.Module):
    """softmax(q k / sqrt(d) + b) v within each window; b is learned for each difference of places, and head."""

    relative_position_index: torch.Tensor

    def __init__(self, options: SwinIROptions):
        super().__init__()
        side, self.heads = options.window_px, options.heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * side - 1) ** 2, options.heads))
        self.qkv, self.proj = nn.Linear(options.width, 3 * options.width), nn.Linear(options.width, options.width)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=_DEVIATION)
        rows, columns = (
            place.flatten() for place in torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        )
        down, right = (p[:, None] - p[None, :] + side - 1 for p in (rows, columns))
        self.register_buffer("relative_position_index", down * (2 * side - 1) + right, persistent=False)

    def forward(self, x_WNC: torch.Tensor, apart_WNN: torch.Tensor | None) -> torch.Tensor:
        query, key, value = self.qkv(x_WNC).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)[None].to(query.dtype)
        mask = bias if apart_WNN is None else bias.masked_fill(apart_WNN[:, None], -torch.inf)
        return self.proj(F.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).flatten(2))


def _cut(x_BHWC: torch.Tensor, side: int) -> torch.Tensor:
    """Return the windows of a map, (B windows, side^2, C)."""
    rows = x_BHWC.unflatten(2, (-1, side)).unflatten(1, (-1, side))
    return rows.transpose(2, 3).flatten(0, 2).flatten(1, 2)


def _joined(x_WNC: torch.Tensor, side: int, height: int, width: int) -> torch.Tensor:
    """Return the map of its windows."""
    windows = x_WNC.unflatten(1, (side, side)).unflatten(0, (-1, height // side, width // side))
    return windows.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _regions(size: int, side: int, shift: int, like: torch.Tensor) -> torch.Tensor:
    """Return for each place of a rolled axis which of three parts it is of: only places of one part are neighbours."""
    place = torch.arange(size, device=like.device)
    return (place >= size - side).long() + (place >= size - shift).long()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=_DEVIATION)
        nn.init.zeros_(module.bias)


def _seen(span: Span, scale: int, options: SwinIROptions) -> Span:
    """Return which pixels of the given picture those of the result depend on."""
    if options.enlargement == "direct":
        span = around(coarser(span, scale), 1)
    else:
        span = around(span, 1)
        span = around(before_subpixel(span, SUBPIXEL_FACTORS[scale]), 1)
    span = around(span, 1)  # after the body
    side = options.window_px
    for _ in range(options.stages):
        span = around(span, 1)
        for number in reversed(range(options.layers)):
            span = within_windows(span, side, side // 2 if number % 2 else 0)
    return around(span, 1)
