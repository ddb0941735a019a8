"""Deformable convolution: nine taps that each pixel may shift and weigh by itself.

Source: Zhu et al. 2019, https://arxiv.org/abs/1811.11168 (version 2, with masks). In plain torch: it runs wherever
torch runs, exports, and has second derivatives. `torchvision.ops.deform_conv2d` computes the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from hpc_sr.models.blocks import conv3
from hpc_sr.models.filters import at_least_float32

_SIDE = 3
_TAPS = _SIDE * _SIDE


def deformed(
    x_BCHW: torch.Tensor,
    offsets_BOHW: torch.Tensor,
    masks_BMHW: torch.Tensor,
    weight_OC33: torch.Tensor,
    bias_O: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return sum over taps k of weight_k * mask_k(p) * x(p + p_k + offset_k(p)) at each pixel p; zeros around x.

    The channels of x are cut into G groups, each with shifts and masks of its own: `offsets` (B, 18 G, H, W) hold
    (down, right) in pixels for each group and tap, `masks` (B, 9 G, H, W) a factor. Between pixels x is bilinear.
    """
    groups = masks_BMHW.shape[1] // _TAPS
    # As few digits as autocast leaves would move a sample by whole pixels.
    offsets = at_least_float32(offsets_BOHW).unflatten(1, (groups, _TAPS, 2)).flatten(0, 1)
    masks = masks_BMHW.unflatten(1, (groups, _TAPS, 1)).flatten(0, 1)
    x = x_BCHW.to(offsets.dtype).unflatten(1, (groups, -1)).flatten(0, 1)
    total = None if bias_O is None else bias_O[:, None, None]
    for tap, (grid, mask) in enumerate(zip(_grids(offsets).unbind(1), masks.unbind(1), strict=True)):
        seen = F.grid_sample(x, grid, "bilinear", "zeros", align_corners=False) * mask
        kernel = weight_OC33[:, :, tap // _SIDE, tap % _SIDE, None, None]
        part = F.conv2d(seen.unflatten(0, (-1, groups)).flatten(1, 2), kernel)
        total = at_least_float32(part) if total is None else total + part
    assert total is not None
    return total


def _grids(offsets_NK2HW: torch.Tensor) -> torch.Tensor:
    """Return where each tap samples (N, taps, H, W, 2), right before down: -1 and 1 are the outer edges of the map.

    Edges, not the centres of the outermost pixels: so a map of one pixel has a scale too.
    """
    height, width = offsets_NK2HW.shape[3:]
    down, right = offsets_NK2HW.unbind(2)
    taps, rows, columns = (torch.arange(n, device=down.device, dtype=down.dtype) for n in (_TAPS, height, width))
    beyond = torch.div(taps, _SIDE, rounding_mode="floor")[:, None, None] - 1
    beside = (taps % _SIDE)[:, None, None] - 1
    places = (
        (right + (columns + beside)) * (2 / width) + (1 / width - 1),
        (down + (rows[:, None] + beyond)) * (2 / height) + (1 / height - 1),
    )
    return torch.stack(places, -1)


class DeformConv(nn.Module):
    """A deformable 3x3 convolution of one map, its shifts and masks read off another of `channels` channels.

    A convolution of the other map gives them; the masks' sigmoid is taken. It begins with zeros: the whole is then an
    ordinary convolution times 0.5. `groups` divides the channels.
    """

    def __init__(self, channels: int, channels_out: int, groups: int):
        super().__init__()
        assert channels % groups == 0, (channels, groups)
        self.places = conv3(channels, 3 * _TAPS * groups)
        self.weight = nn.Parameter(torch.empty(channels_out, channels, _SIDE, _SIDE))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        bound = (_TAPS * channels) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        for parameter in self.places.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x_BCHW: torch.Tensor, guide_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the map (B, channels_out, H, W) of x, sampled where the guide says."""
        told = self.places(guide_BCHW)
        shifts = told.shape[1] * 2 // 3
        return deformed(x_BCHW, told[:, :shifts], torch.sigmoid(told[:, shifts:]), self.weight, self.bias)
