"""What a user chooses about a super-resolved image. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Literal

from hpc_sr.errors import RecipeError
from hpc_sr.infer.region import Region

#: Pixels a side of a whole tile at 10 m: what a window can hold at most.
MOST_WINDOW_PX = 10_980


@dataclass(frozen=True)
class InferOptions:
    """`bands`: all bands at 10 m, only the sharpened, or those of these names.

    `dtype`: DN in the source's convention, or reflectance.
    `format`: cloud-optimised or plain tiled GeoTIFF. `ensemble` averages over eight symmetries, `spread` adds their
    standard deviation as bands. `back_project` makes the result agree with the measured coarse bands. `any_level`
    lets a model loose on a level it was not trained on. `overwrite` replaces what is there. `check`
    degrades the finished image and tells how far it is from the measured bands. `window_px` is the side of what is
    kept of a window, rounded down to what the networks ask for; None: by device and memory. `overview` writes a small
    picture beside the image. Raises RecipeError for a window of no pixel, or larger than a tile, and for a
    type or format that is none of these.
    """

    bands: Literal["all", "sharpened"] | tuple[str, ...] = "all"
    dtype: Literal["uint16", "float32"] = "uint16"
    format: Literal["cog", "gtiff"] = "cog"
    region: Region | None = None
    ensemble: bool = False
    spread: bool = False
    back_project: bool = False
    any_level: bool = False
    overwrite: bool = False
    check: bool = False
    window_px: int | None = None
    overview: bool = True

    def __post_init__(self) -> None:
        for option, value, known in (
            ("--dtype", self.dtype, ("uint16", "float32")),
            ("--format", self.format, ("cog", "gtiff")),
        ):
            if value not in known:
                raise RecipeError(f"unknown {value!r}", where=option, cure=f"choose of {', '.join(known)}")
        side_px = self.window_px
        if side_px is not None and not (isinstance(side_px, Integral) and 1 <= side_px <= MOST_WINDOW_PX):
            cure = f"give 1 to {MOST_WINDOW_PX} (the side of a tile), or leave it out"
            raise RecipeError(f"{side_px} px is no side of a window", where="--window-px", cure=cure)
