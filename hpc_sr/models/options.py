"""The `model` section of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hpc_sr.config import Section


class ModelOptions(Section):
    """A generator. `s2x` is the multi-branch network with self-attention (S6x for task s6x), `dsen2` the baseline.

    `width` is the trunk's channel count, `blocks` its residual blocks. `attention: false` takes it out of `s2x`;
    `dsen2` has none.
    """

    family: Literal["s2x", "dsen2"]
    width: Annotated[int, Field(ge=16, multiple_of=16)] = 128
    blocks: Annotated[int, Field(ge=1)] = 6
    residual_scale: Annotated[float, Field(gt=0)] = 0.1
    attention: bool | None = None

    @model_validator(mode="after")
    def _attention_belongs_to_s2x(self) -> ModelOptions:
        if self.family == "dsen2" and self.attention:
            raise ValueError("dsen2 has no attention")
        return self
