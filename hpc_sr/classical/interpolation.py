"""What anybody gets without training: the yardsticks of every table. x_BCHW: batch, bands, rows, columns.

Each interpolation says how many coarse pixels it looks at around the one that a fine pixel lies in. A window that
brings that many on each side, fewer only where the image ends, gives the values of the whole image.
"""

from __future__ import annotations

from hpc_sr.models.blocks import bilinear
from hpc_sr.models.filters import BICUBIC_REACH_PX, BILINEAR_REACH_PX, NEAREST_REACH_PX, bicubic, nearest

__all__ = ["BICUBIC_REACH_PX", "BILINEAR_REACH_PX", "NEAREST_REACH_PX", "bicubic", "bilinear", "nearest"]
