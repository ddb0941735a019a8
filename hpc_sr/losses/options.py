"""The `loss` section of a recipe."""

from __future__ import annotations

from typing import Literal

from hpc_sr.config import Section


class LossOptions(Section):
    """The content loss that a generator is trained with."""

    content: Literal["l1", "charbonnier"] = "l1"
