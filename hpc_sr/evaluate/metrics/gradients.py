"""GSM, gradient similarity: is there as much detail in the estimate (global), and is it in the same places (map)?

Neither ranks methods alone. The global score ignores where gradients are, so noise raises it. The map counts every
pixel alike, so flat ground, where gradients are noise, weighs as much as edges.
Shapes: B images of one band, H, W, float64.
"""

from __future__ import annotations

import torch

from hpc_sr.tasks import REFLECTANCE_ONE

#: Pixels a side that a gradient looks at.
GRADIENT_WINDOW_PX = 3
#: The map's stabiliser is the square of this share of the peak: of one unit of reflectance x 10 000.
GSM_K = 1e-4


def gradient_maps(
    reference_BHW: torch.Tensor, estimate_BHW: torch.Tensor, peak: float = REFLECTANCE_ONE
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradient magnitudes gx of the reference, gy of the estimate, and their similarity, pixel by pixel.

    Magnitudes are of central differences, in units per pixel. Similarity is (2 gx gy + c) / (gx^2 + gy^2 + c) with
    c = (1e-4 peak)^2, 0..1. Source of the form: Liu, Lin and Narwaria, IEEE TIP 2012; their gradient is the largest
    of four 5 x 5 filters and their stabiliser grows with it, the published values for this field do neither.

    Shapes: (B, H, W) -> (B, H - 2, W - 2), the pixels with neighbours on every side.
    """
    stabiliser = (GSM_K * peak) ** 2
    squared_x, squared_y = _squared_gradient(reference_BHW), _squared_gradient(estimate_BHW)
    gradient_x, gradient_y = squared_x.sqrt(), squared_y.sqrt()
    shared = (gradient_x * gradient_y).mul_(2).add_(stabiliser)
    return gradient_x, gradient_y, shared.div_(squared_x.add_(squared_y).add_(stabiliser))


def _squared_gradient(image_BHW: torch.Tensor) -> torch.Tensor:
    across = image_BHW[..., 1:-1, 2:] - image_BHW[..., 1:-1, :-2]
    down = image_BHW[..., 2:, 1:-1] - image_BHW[..., :-2, 1:-1]
    return across.square_().add_(down.square_()).mul_(0.25)
