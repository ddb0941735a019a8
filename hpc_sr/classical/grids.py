"""What the classical methods share: grids that nest."""

from __future__ import annotations

import torch

from hpc_sr.errors import ShapeError


def check_nested(coarse_CHW: torch.Tensor, fine_CHW: torch.Tensor, scale: int) -> None:
    """Raise ShapeError unless each coarse pixel covers scale x scale fine ones."""
    height, width = coarse_CHW.shape[-2:]
    if (height * scale, width * scale) != tuple(fine_CHW.shape[-2:]):
        fine = " x ".join(str(size) for size in fine_CHW.shape[-2:])
        raise ShapeError(
            f"{height} x {width} coarse px and {fine} fine px do not nest at x{scale}",
            cure="give both for the same ground, trimmed to whole coarse pixels",
        )
