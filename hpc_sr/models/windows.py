"""Windows of maps, and places in a row. Shapes: W windows, N places in a window, as in x_WNC."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from hpc_sr.errors import RecipeError, ShapeError


def cut(x_BCHW: torch.Tensor, size: int) -> torch.Tensor:
    """Return the map's windows, row by row along the first axis, each as places x channels."""
    height, width = x_BCHW.shape[2:]
    size_h, size_w = window_of(height, width, size)
    rows = x_BCHW.permute(0, 2, 3, 1).unflatten(2, (-1, size_w)).unflatten(1, (-1, size_h))
    return rows.transpose(2, 3).flatten(0, 2).flatten(1, 2)


def joined(windows_WNC: torch.Tensor, shape: torch.Size, size: int) -> torch.Tensor:
    """Return the map (B, C, H, W) of the given shape that `cut` cut."""
    height, width = shape[2:]
    size_h, size_w = window_of(height, width, size)
    windows = windows_WNC.unflatten(1, (size_h, size_w)).unflatten(0, (-1, height // size_h, width // size_w))
    return windows.transpose(2, 3).flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)


def window_of(height: int, width: int, size: int) -> tuple[int, int]:
    """Return the height and width of a map's windows: the whole map if it is no larger than one."""
    if height <= size and width <= size:
        return height, width
    if height % size or width % size:
        raise ShapeError(f"{height} x {width} px is no multiple of the attention window, {size} px")
    return size, size


def pointwise(convolution: nn.Conv2d, x_WNC: torch.Tensor) -> torch.Tensor:
    """Apply a 1x1 convolution to places x channels."""
    return F.linear(x_WNC, convolution.weight[:, :, 0, 0], convolution.bias)


def check_windows(family: str, patch_px: int, unit_px: int) -> None:
    """Raise RecipeError if patches are no multiples of what the windows of a family are made for."""
    if patch_px % unit_px:
        raise RecipeError(
            f"family {family} needs patches of multiples of {unit_px} px, the store has {patch_px} px",
            where="model",
            cure="prepare such patches, or choose another family, or model.window_px where it has one",
        )


def check_sides(x_BCHW: torch.Tensor, unit_px: int, window_px: int) -> None:
    """Raise ShapeError if the sides of a map are no multiples of `unit_px`, or of a window if it is larger than one."""
    height, width = x_BCHW.shape[2:]
    if height > window_px or width > window_px:
        unit_px = window_px
    if height % unit_px or width % unit_px:
        raise ShapeError(
            f"{height} x {width} px is no multiple of {unit_px} px",
            cure=f"give a picture whose sides are multiples of {unit_px}",
        )
