"""Attention that has a paper's name: CBAM, and the encoder layer of transformers on a map's places."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

_HEADS = 4
_FEEDS_FORWARD = 4


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
