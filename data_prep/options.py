"""The `prepare` section of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hpc_sr.config import Section


class SplitOptions(Section):
    """Which tiles go where: explicit lists win; the other tiles are drawn by `seed`, whole tiles at a time."""

    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    test_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    seed: int = 0

    @model_validator(mode="after")
    def _lists_do_not_overlap(self) -> SplitOptions:
        named = [*self.train, *self.validation, *self.test]
        twice = sorted({tile for tile in named if named.count(tile) > 1})
        if twice:
            raise ValueError(f"tile {twice[0]} is in two splits")
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share + test_share leave nothing to train on")
        return self


class PrepareOptions(Section):
    """How products become patches. Sizes are in pixels of the target grid; `products` are paths or globs."""

    products: Annotated[tuple[str, ...], Field(min_length=1)]
    degradation: Literal["wald", "mtf"] = "mtf"
    patch_px: Annotated[int, Field(ge=2)] = 32
    stride_px: Annotated[int, Field(ge=1)] = 32
    layout: Literal["contiguous", "compact"] = "contiguous"
    seed: int = 0
    split: SplitOptions = SplitOptions()
