"""Building blocks. Shapes: B batch, C channels, H and W pixels, N positions of an attention window."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from hpc_sr.errors import ShapeError


def conv3(channels_in: int, channels_out: int) -> nn.Conv2d:
    """Return a 3x3 convolution with bias that keeps the size (zero padding)."""
    return nn.Conv2d(channels_in, channels_out, 3, padding=1)


class ResidualBlock(nn.Module):
    """x + scale * conv(relu(conv(x))): constant residual scaling instead of normalisation (Lanaras et al. 2018)."""

    def __init__(self, channels: int, scale: float):
        super().__init__()
        self.first, self.second, self.scale = conv3(channels, channels), conv3(channels, channels), scale

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        return x_BCHW + self.scale * self.second(F.relu(self.first(x_BCHW)))


class SelfAttention(nn.Module):
    """x + gamma * attention(x), gamma starting at 0 (Zhang et al. 2019, SAGAN), within windows of `window_px`.

    More positions than in training would change the operator, so a larger map is cut into windows of the training
    patch's size from its upper-left corner. No 1/sqrt(d) factor, as in the original. `kv_pool` pools keys and values.
    Raises ShapeError if a map larger than the window is no multiple of it.
    """

    def __init__(self, channels: int, window_px: int, kv_pool: int = 1):
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1)
        self.key = nn.Conv2d(channels, channels // 8, 1)
        self.value = nn.Conv2d(channels, channels // 2, 1)
        self.out = nn.Conv2d(channels // 2, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))
        self.window_px, self.kv_pool = window_px, kv_pool

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        windows = _windows(x_BCHW, self.window_px)
        pooled = F.max_pool2d if self.kv_pool > 1 else lambda x, _: x
        query = self.query(windows)
        key, value = pooled(self.key(windows), self.kv_pool), pooled(self.value(windows), self.kv_pool)
        q_BNC, k_BNC, v_BNC = (x.flatten(2).transpose(1, 2) for x in (query, key, value))
        # Fused kernels want one head axis and equal widths. Zeros change no product, and without the fused kernel the
        # N x N map would be written out: 3 to 8 times slower, and 4 MiB a window.
        missing = v_BNC.shape[-1] - q_BNC.shape[-1]
        q_BNC, k_BNC = F.pad(q_BNC, (0, missing)), F.pad(k_BNC, (0, missing))
        mixed_BNC = F.scaled_dot_product_attention(q_BNC[:, None], k_BNC[:, None], v_BNC[:, None], scale=1.0)[:, 0]
        mixed = self.out(mixed_BNC.transpose(1, 2).reshape(-1, value.shape[1], *query.shape[2:]))
        return x_BCHW + self.gamma * _joined(mixed, x_BCHW.shape)


def _windows(x_BCHW: torch.Tensor, size: int) -> torch.Tensor:
    """Return the map's windows along the batch axis."""
    batch, channels, height, width = x_BCHW.shape
    if height <= size and width <= size:
        return x_BCHW
    if height % size or width % size:
        raise ShapeError(f"{height} x {width} px is no multiple of the attention window, {size} px")
    rows, columns = height // size, width // size
    cut = x_BCHW.reshape(batch, channels, rows, size, columns, size)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, size, size)


def _joined(windows: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Return the map that `_windows` cut, given the shape it had."""
    batch, channels, height, width = shape
    size_h, size_w = windows.shape[2:]
    cut = windows.reshape(batch, height // size_h, width // size_w, channels, size_h, size_w)
    return cut.permute(0, 3, 1, 4, 2, 5).reshape(shape)


def init_he_uniform(module: nn.Module) -> None:
    """Initialise every convolution Kaiming-uniform (fan-in, ReLU) with zero bias, attention's 1x1 ones Xavier."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_uniform_(part.weight, nonlinearity="relu")
            nn.init.zeros_(part.bias)
    for part in module.modules():
        if isinstance(part, SelfAttention):
            for conv in (part.query, part.key, part.value, part.out):
                nn.init.xavier_uniform_(conv.weight)
