"""Building blocks. Shapes: B batch, C channels, H and W pixels; W windows and N positions in names like x_WNC."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from hpc_sr.models.filters import neighbours_down
from hpc_sr.models.windows import cut, joined, pointwise, window_of

#: What sub-pixel convolutions multiply a map's sides by, one after the other, for each scale.
SUBPIXEL_FACTORS = {2: (2,), 3: (3,), 4: (2, 2)}


def conv3(channels_in: int, channels_out: int, bias: bool = True) -> nn.Conv2d:
    """Return a 3x3 convolution that keeps the size (zero padding)."""
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=bias)


def subpixel(width: int, activation: nn.Module) -> nn.Sequential:
    """Return a sub-pixel convolution (Shi et al. 2016, https://arxiv.org/abs/1609.05158): a map twice as fine."""
    return nn.Sequential(conv3(width, 4 * width), nn.PixelShuffle(2), activation)


def bilinear(x_BCHW: torch.Tensor, scale: int) -> torch.Tensor:
    """Return the image on a grid `scale` times finer, linear between pixel centres and flat beyond the outermost.

    Pixel areas keep their places (`align_corners=False`). A window has the values of the whole image, to the bit.
    Shapes: (B, C, H, W) -> (B, C, scale H, scale W).
    """
    if scale == 1:
        return x_BCHW
    # The library rounds its weights anew at each row: that shows where a window begins, and bfloat16 makes units of it.
    return bilinear_down(bilinear_down(x_BCHW, scale).mT, scale).mT


def bilinear_down(x_BCHW: torch.Tensor, scale: int) -> torch.Tensor:
    """Return the image `scale` times finer along its columns."""
    above, middle, below = neighbours_down(x_BCHW, count=3).unbind(2)
    places = [(place + 0.5) / scale - 0.5 for place in range(scale)]
    rows = [middle + ((above if place < 0 else below) - middle) * abs(place) for place in places]
    return torch.stack(rows, dim=3).flatten(2, 3)


def subpixel_chain(channels: int, scale: int) -> nn.Sequential:
    """Return sub-pixel convolutions that make a map `scale` times finer and keep its channels."""
    steps = SUBPIXEL_FACTORS[scale]
    parts = [(conv3(channels, channels * factor**2), nn.PixelShuffle(factor)) for factor in steps]
    return nn.Sequential(*(part for pair in parts for part in pair))


class ResidualBlock(nn.Module):
    """x + scale * conv(relu(conv(x))): constant residual scaling instead of normalisation.

    Source: Lanaras et al. 2018, https://arxiv.org/abs/1803.04271.
    """

    def __init__(self, channels: int, scale: float, bias: bool = True):
        super().__init__()
        self.first, self.second = conv3(channels, channels, bias), conv3(channels, channels, bias)
        self.scale = scale

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        # In place and in one: two maps less in memory, and two passes less over them.
        inner = self.second(F.relu(self.first(x_BCHW), inplace=True))
        return torch.add(x_BCHW, inner, alpha=self.scale)


class SelfAttention(nn.Module):
    """x + gamma * attention(x), gamma starting at 0, within windows of `window_px`.

    Source: SAGAN, Zhang et al. 2019, https://arxiv.org/abs/1805.08318.

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
        # In use a map has many windows. A row of them at a time: its copies need not lie in memory all at once.
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._attended(x_BCHW)
        return torch.cat([self._attended(row) for row in x_BCHW.split(self.window_px, dim=2)], dim=2)

    def _attended(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        # Channels last, a window is a matrix of positions x channels. The fused kernels want that, one head axis and
        # equal widths; zeros change no product. Without them the N x N map would be written out: 4 MiB a window.
        x_WNC = cut(x_BCHW, self.window_px)
        query, key, value = (pointwise(convolution, x_WNC) for convolution in (self.query, self.key, self.value))
        if self.kv_pool > 1:
            height, width = x_BCHW.shape[2:]
            sizes = window_of(height, width, self.window_px)
            key, value = _max_pooled(key, *sizes, self.kv_pool), _max_pooled(value, *sizes, self.kv_pool)
        missing = value.shape[-1] - query.shape[-1]
        query, key = F.pad(query, (0, missing)), F.pad(key, (0, missing))
        mixed = F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None], scale=1.0)[:, 0]
        return x_BCHW + self.gamma * joined(pointwise(self.out, mixed), x_BCHW.shape, self.window_px)


def _max_pooled(x_WNC: torch.Tensor, height: int, width: int, by: int) -> torch.Tensor:
    """Return the maxima over by x by positions of windows of height x width."""
    return x_WNC.unflatten(1, (height // by, by, width // by, by)).amax((2, 4)).flatten(1, 2)


def init_he_uniform(module: nn.Module) -> None:
    """Initialise every convolution Kaiming-uniform (fan-in, ReLU) with zero bias, attention's 1x1 ones Xavier."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_uniform_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    for part in module.modules():
        if isinstance(part, SelfAttention):
            for conv in (part.query, part.key, part.value, part.out):
                nn.init.xavier_uniform_(conv.weight)
