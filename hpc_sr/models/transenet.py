"""TransENet: a transformer over patches of the enlarged map, which asks three stages of features on the small picture.

Source: Lei, Shi & Mo 2021, https://ieeexplore.ieee.org/document/9654169, in the layers of the authors' code.
Shapes: W windows, N tokens of a window, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from hpc_sr.models.blocks import SUBPIXEL_FACTORS, ResidualBlock, conv3, subpixel_chain
from hpc_sr.models.colours import UC_MERCED_MEAN
from hpc_sr.models.facts import Facts
from hpc_sr.models.picture_options import TransENetOptions
from hpc_sr.models.reach import Reach
from hpc_sr.models.single_image import OfMeanColour
from hpc_sr.models.spans import around, before_subpixel
from hpc_sr.models.windows import check_sides, check_windows, window_of
from hpc_sr.tasks import Task

_STAGES, _HEADS, _HEAD_WIDTH = 3, 6, 32
#: A token is so many pixels a side, of features with a quarter of the channels.
_TOKEN_PX, _NARROWER = 8, 4


class TransENet(OfMeanColour):
    """5 blocks a stage and 8 layers an encoder have 37,458,883 parameters at x4, 37,495,811 at x3, 37,311,171 at x2.

    Tokens see those of a window of a training patch, from the upper-left corner, as published. Nothing tells them
    apart but what they hold.
    """

    def __init__(self, task: Task, options: TransENetOptions, facts: Facts):
        width, embedding, scale = options.width, options.embedding, task.scale
        check_windows(options.family, facts.patch_px, _TOKEN_PX * scale)
        before_px = _beyond_px(scale, convolutions=1 + 2 * _STAGES * options.blocks)
        super().__init__(task, facts, Reach(before_px, 1, facts.patch_px), width, options.base, UC_MERCED_MEAN)
        self.first = conv3(self.bands, width)
        self.stages = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width, scale=1.0) for _ in range(options.blocks))) for _ in range(_STAGES)
        )
        self.upsample = subpixel_chain(width, scale)
        narrow = width // _NARROWER
        values = narrow * _TOKEN_PX**2
        maps = _STAGES + 1
        self.narrow = nn.ModuleList(nn.Conv2d(width, narrow, 1) for _ in range(maps))
        self.embed = nn.ModuleList(nn.Linear(values, embedding) for _ in range(maps))
        self.encoders = nn.ModuleList(
            nn.Sequential(*(_EncoderLayer(embedding) for _ in range(options.layers))) for _ in range(maps)
        )
        self.decoders = nn.ModuleList(_DecoderLayer(embedding) for _ in range(_STAGES))
        self.values, self.wide = nn.Linear(embedding, values), nn.Conv2d(narrow, width, 1)
        self.last = conv3(width, self.bands)

    def finer(self, coarse_BChw: torch.Tensor) -> torch.Tensor:
        window_px = self.facts.patch_px // self.scale
        check_sides(coarse_BChw, _TOKEN_PX, window_px)
        features, maps = self.first(coarse_BChw - self.mean), []
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        enlarged = self.upsample(features)
        asking = self._encoded(_STAGES, enlarged, self.facts.patch_px)
        # The last stage is asked first.
        for number in reversed(range(_STAGES)):
            asking = self.decoders[number](asking, self._encoded(number, maps[number], window_px))
        return self.last(self.wide(_joined(self.values(asking), enlarged.shape, self.facts.patch_px)))

    def _encoded(self, number: int, map_BCHW: torch.Tensor, window_px: int) -> torch.Tensor:
        return self.encoders[number](self.embed[number](_tokens(self.narrow[number](map_BCHW), window_px)))


class _EncoderLayer(nn.Module):
    """x + attention of norm(x), then x + W gelu(V norm(x))."""

    def __init__(self, channels: int):
        super().__init__()
        self.attention, self.feed = _Attention(channels), _Feed(channels)
        self.first_norm, self.second_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)

    def forward(self, x_WNC: torch.Tensor) -> torch.Tensor:
        normed = self.first_norm(x_WNC)
        x_WNC = x_WNC + self.attention(normed, normed)
        return x_WNC + self.feed(self.second_norm(x_WNC))


class _DecoderLayer(nn.Module):
    """An encoder's layer that, between its two sums, looks at what an encoder made: x + attention(norm(x), norm(m))."""

    def __init__(self, channels: int):
        super().__init__()
        self.attention, self.across, self.feed = _Attention(channels), _Attention(channels), _Feed(channels)
        self.first_norm, self.across_norm, self.second_norm = (nn.LayerNorm(channels) for _ in range(3))

    def forward(self, x_WNC: torch.Tensor, made_WNC: torch.Tensor) -> torch.Tensor:
        normed = self.first_norm(x_WNC)
        x_WNC = x_WNC + self.attention(normed, normed)
        x_WNC = x_WNC + self.across(self.across_norm(x_WNC), self.across_norm(made_WNC))
        return x_WNC + self.feed(self.second_norm(x_WNC))


class _Attention(nn.Module):
    """W softmax(q(x) k(m) / sqrt(C)) v(m), six heads of 32 channels; C is the tokens' width, not a head's."""

    def __init__(self, channels: int):
        super().__init__()
        self.heads_scale = channels**-0.5
        inner = _HEADS * _HEAD_WIDTH
        self.query, self.key, self.value = (nn.Linear(channels, inner, bias=False) for _ in range(3))
        self.out = nn.Linear(inner, channels)

    def forward(self, x_WNC: torch.Tensor, seen_WNC: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            linear(tokens).unflatten(2, (_HEADS, _HEAD_WIDTH)).transpose(1, 2)
            for linear, tokens in ((self.query, x_WNC), (self.key, seen_WNC), (self.value, seen_WNC))
        )
        mixed = F.scaled_dot_product_attention(query, key, value, scale=self.heads_scale)
        return self.out(mixed.transpose(1, 2).flatten(2))


class _Feed(nn.Sequential):
    def __init__(self, channels: int):
        super().__init__(nn.Linear(channels, channels), nn.GELU(), nn.Linear(channels, channels))


def _tokens(x_BCHW: torch.Tensor, window_px: int) -> torch.Tensor:
    """Return the tokens of a map's windows, and in these a token's pixels, all row by row."""
    height, width = x_BCHW.shape[2:]
    rows, columns = (side // _TOKEN_PX for side in window_of(height, width, window_px))
    pixels = x_BCHW.permute(0, 2, 3, 1).unflatten(2, (-1, columns, _TOKEN_PX)).unflatten(1, (-1, rows, _TOKEN_PX))
    return pixels.permute(0, 1, 4, 2, 5, 3, 6, 7).flatten(0, 2).flatten(1, 2).flatten(2)


def _joined(tokens_WNC: torch.Tensor, shape: torch.Size, window_px: int) -> torch.Tensor:
    """Return the map (B, C, H, W) of the tokens of a map of such sides."""
    height, width = shape[2:]
    side_h, side_w = window_of(height, width, window_px)
    pixels = tokens_WNC.unflatten(2, (_TOKEN_PX, _TOKEN_PX, -1)).unflatten(1, (side_h // _TOKEN_PX, -1))
    windows = pixels.unflatten(0, (-1, height // side_h, width // side_w))
    return windows.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4, 6).flatten(1, 3).permute(0, 3, 1, 2)


def _beyond_px(scale: int, convolutions: int) -> int:
    """Return how far beyond its window the enlarged map looks, in its pixels; the other maps look less far."""
    first, _ = around(before_subpixel((0, 0), SUBPIXEL_FACTORS[scale]), convolutions)
    return -(first * scale + scale - 1)
