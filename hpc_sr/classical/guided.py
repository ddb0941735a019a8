"""Guided sharpening as a method of its own: the base that networks build on. `Guided` has the law."""

from __future__ import annotations

import torch

from hpc_sr.classical.grids import check_nested
from hpc_sr.errors import ShapeError
from hpc_sr.models.bases import ROUNDS, Guided
from hpc_sr.sentinel2.degrade import Kernel, taps_of_bands


def guided(
    coarse_CHW: torch.Tensor,
    guides_KHW: torch.Tensor,
    law: Kernel,
    guide_law: Kernel,
    rounds: int = ROUNDS,
    exact: bool = True,
) -> torch.Tensor:
    """Return the coarse bands on the guides' grid.

    `law` is how a coarse band follows from its fine one, `guide_law` how the guides look at that scale. Without
    `rounds` of back-projection the fit alone: better where the true response is not the law's.

    Shapes: (C, h, w) and (K, s h, s w) -> (C, s h, s w). Reflectance x 10 000, finite (fill nodata first). If `exact`
    worked out in float64, else in float32, which moves pixels of real scenes by hundredths of a DN. Returned in the
    type of the coarse bands. Symmetric borders.
    Raises ShapeError if the grids do not nest or the laws' scales or bands differ.
    """
    check_nested(coarse_CHW, guides_KHW, law.scale)
    base = _base(law, guide_law, rounds)
    dtype = torch.float64 if exact else torch.float32
    return base(coarse_CHW[None].to(dtype), guides_KHW[None].to(dtype))[0].to(coarse_CHW.dtype)


def reach_px(law: Kernel, guide_law: Kernel, rounds: int = ROUNDS) -> int:
    """Return how many fine pixels around its own coarse pixel a result depends on: a multiple of the scale.

    Windows whose edges lie on coarse pixels and which bring that many, fewer only where the image ends, give the
    values of the whole image.
    """
    return _base(law, guide_law, rounds).reach_px


def _base(law: Kernel, guide_law: Kernel, rounds: int) -> Guided:
    if guide_law.scale != law.scale:
        raise ShapeError(
            f"the bands are x{law.scale}, their guides x{guide_law.scale}", cure="give kernels of one scale"
        )
    return Guided(law.scale, taps_of_bands(law), taps_of_bands(guide_law), dn_per_unit=1.0, rounds=rounds)
