"""Attention that looks at a whole map, or at windows of it: masks of channels and places, and places of each other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from hpc_sr.errors import RecipeError, ShapeError
from hpc_sr.models.blocks import conv3
from hpc_sr.models.filters import at_least_float32
from hpc_sr.models.windows import cut, joined, pointwise

_HEADS, _FEEDS_FORWARD = 4, 4
#: ESA's strided convolution, then its pooling: (kernel, stride).
_HALVING, _POOLING = (3, 2), (7, 3)
_ESA_SHARE = 4
_FLAT = 1e-10
#: What these leave a pixel of; and two: one alone is stretched in another way, so its graph is another.
ESA_LEAST_PX = _HALVING[1] * (_POOLING[0] - 1) + _HALVING[0]
ESA_GRAPH_PX = ESA_LEAST_PX + _HALVING[1] * _POOLING[1]


class CBAM(nn.Module):
    """x times a mask of its channels, that times a mask of its places, both in 0..1.

    Channels: sigmoid(M(mean) + M(maximum)) over all places, M = two 1x1 convolutions with `reduction` times fewer
    channels between. Places: sigmoid(a 7x7 convolution of the channels' mean and maximum). No biases.
    Source: Woo et al. 2018, https://arxiv.org/abs/1807.06521.
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        self.channels = nn.Sequential(
            nn.Conv2d(channels, channels // reduction, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(channels // reduction, channels, 1, bias=False),
        )
        self.places = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        mean, most = x_BCHW.mean((2, 3), keepdim=True), x_BCHW.amax((2, 3), keepdim=True)
        x_BCHW = x_BCHW * torch.sigmoid(self.channels(mean) + self.channels(most))
        seen = torch.cat([x_BCHW.mean(1, keepdim=True), x_BCHW.amax(1, keepdim=True)], 1)
        return x_BCHW * torch.sigmoid(self.places(seen))


class ContrastAttention(nn.Module):
    """x times a mask of its channels in 0..1, made of each one's deviation plus mean over all places.

    Source: Hui et al. 2019, https://arxiv.org/abs/1909.11856.
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        self.channels = nn.Sequential(
            nn.Conv2d(channels, channels // reduction, 1), nn.ReLU(), nn.Conv2d(channels // reduction, channels, 1)
        )

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        full = at_least_float32(x_BCHW)
        mean = full.mean((2, 3), keepdim=True)
        variance = (full - mean).square().mean((2, 3), keepdim=True)
        # Where a channel is flat, the root has no slope of its own.
        contrast = (variance + _FLAT).sqrt() + mean
        return x_BCHW * torch.sigmoid(self.channels(contrast.to(x_BCHW.dtype)))


class Encoder(nn.Module):
    """A transformer's encoder layer over all places of a map: attention of 4 heads, then 4 times the channels.

    x = norm(x + attention(x)), then norm(x + W relu(V x)). Nothing tells places apart but what they hold.
    `dropout` is of the attention's weights, of both sums and between V and W, from torch's generator.
    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.
    """

    def __init__(self, channels: int, dropout: float):
        super().__init__()
        self.dropout = dropout
        self.asked = nn.Linear(channels, 3 * channels)
        self.told = nn.Linear(channels, channels)
        self.wider = nn.Linear(channels, _FEEDS_FORWARD * channels)
        self.narrower = nn.Linear(_FEEDS_FORWARD * channels, channels)
        self.first_norm, self.second_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        shape = x_BCHW.shape
        x_BNC = x_BCHW.flatten(2).mT
        x_BNC = self.first_norm(x_BNC + self._dropped(self.told(self._mixed(x_BNC))))
        inner = self._dropped(F.relu(self.wider(x_BNC)))
        x_BNC = self.second_norm(x_BNC + self._dropped(self.narrower(inner)))
        return x_BNC.mT.reshape(shape)

    def _mixed(self, x_BNC: torch.Tensor) -> torch.Tensor:
        # (B, N, 3 heads C/heads) -> three of (B, heads, N, C/heads)
        split = self.asked(x_BNC).unflatten(2, (3 * _HEADS, -1)).transpose(1, 2)
        query, key, value = split.chunk(3, 1)
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout).transpose(1, 2).flatten(2)

    def _dropped(self, x_BNC: torch.Tensor) -> torch.Tensor:
        return F.dropout(x_BNC, self.dropout, self.training)


class NonLocal(nn.Module):
    """x + W softmax(q(y) k(x)) v(x) over all places of a window of `window_px`; y is x, or another map of its size.

    q, k and v have half the channels; W begins at 0. A map no larger than a window is one. No 1/sqrt(d), as published
    (embedded Gaussian). Raises ShapeError if a larger map is no multiple of the window.
    Source: Wang et al. 2018, https://arxiv.org/abs/1711.07971.
    """

    def __init__(self, channels: int, window_px: int):
        super().__init__()
        self.window_px = window_px
        self.query, self.key, self.value = (nn.Conv2d(channels, channels // 2, 1) for _ in range(3))
        self.out = nn.Conv2d(channels // 2, channels, 1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x_BCHW: torch.Tensor, asking_BCHW: torch.Tensor | None = None) -> torch.Tensor:
        x_WNC = cut(x_BCHW, self.window_px)
        asking_WNC = x_WNC if asking_BCHW is None else cut(asking_BCHW, self.window_px)
        query, key, value = (
            pointwise(convolution, seen_WNC)[:, None]  # fused kernels want an axis of heads: no N x N map is written
            for convolution, seen_WNC in ((self.query, asking_WNC), (self.key, x_WNC), (self.value, x_WNC))
        )
        mixed = F.scaled_dot_product_attention(query, key, value, scale=1.0)[:, 0]
        return x_BCHW + joined(pointwise(self.out, mixed), x_BCHW.shape, self.window_px)


class ESA(nn.Module):
    """x times a mask in 0..1, made of a coarse view of x and of x itself (enhanced spatial attention).

    The coarse view is stretched over x, whatever its size, which is ESA_ESA_LEAST_PX or more.
    Source: Liu et al. 2020, https://arxiv.org/abs/2009.11551.
    """

    def __init__(self, width: int):
        super().__init__()
        inner = width // _ESA_SHARE
        self.conv1 = nn.Conv2d(width, inner, 1)
        self.conv2 = nn.Conv2d(inner, inner, *_HALVING)
        self.conv_max, self.conv3, self.conv3_ = (conv3(inner, inner) for _ in range(3))
        self.conv_f = nn.Conv2d(inner, inner, 1)
        self.conv4 = nn.Conv2d(inner, width, 1)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        height, width = x_BCHW.shape[2:]
        if min(height, width) < ESA_LEAST_PX:
            raise ShapeError(
                f"{height} x {width} px are too few for the network's attention", cure=f"give {ESA_LEAST_PX} px or more"
            )
        narrow = self.conv1(x_BCHW)
        coarse = F.max_pool2d(self.conv2(narrow), *_POOLING)
        coarse = self.conv3_(F.relu(self.conv3(F.relu(self.conv_max(coarse)))))
        spread = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
        return x_BCHW * torch.sigmoid(self.conv4(spread + self.conv_f(narrow)))


def check_patches(family: str, scale: int, patch_px: int) -> None:
    """Raise RecipeError if patches of a store are too small for the attention of a family on the small picture."""
    if patch_px // scale < ESA_LEAST_PX:
        raise RecipeError(
            f"family {family} needs patches of {ESA_LEAST_PX * scale} px or more, the store has {patch_px} px",
            where="model",
            cure="prepare larger patches, or choose another family",
        )
