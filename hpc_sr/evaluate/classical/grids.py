"""What the classical methods share: grids that nest, and the law that leads from the fine one to the coarse one."""

from __future__ import annotations

import torch

from hpc_sr.errors import ShapeError
from hpc_sr.sentinel2.degrade import Kernel, degrade


def check_nested(coarse_CHW: torch.Tensor, fine_CHW: torch.Tensor, scale: int) -> None:
    """Raise ShapeError unless each coarse pixel covers scale x scale fine ones."""
    height, width = coarse_CHW.shape[-2:]
    if (height * scale, width * scale) != tuple(fine_CHW.shape[-2:]):
        fine = " x ".join(str(size) for size in fine_CHW.shape[-2:])
        raise ShapeError(
            f"{height} x {width} coarse px and {fine} fine px do not nest at x{scale}",
            cure="give both for the same ground, trimmed to whole coarse pixels",
        )


def seen_coarse(fine_CHW: torch.Tensor, law: Kernel) -> torch.Tensor:
    """Return the bands as the degradation `law` shows them, (C, s h, s w) -> (C, h, w), on the same device."""
    return torch.from_numpy(degrade(fine_CHW.cpu().numpy(), law)).to(fine_CHW.device)
