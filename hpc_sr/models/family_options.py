"""What the options of every family have in common."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from hpc_sr.config import Section
from hpc_sr.tasks import Task

#: Channels of a trunk. Attention works on eighths and halves of them.
Width = Annotated[int, Field(ge=16, le=4096, multiple_of=16)]
Blocks = Annotated[int, Field(ge=1, le=1024)]
Channels = Annotated[int, Field(ge=1, le=4096)]
ResidualScale = Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]


class FamilyOptions(Section):
    """What every family answers for itself: which tasks it refuses, and what it is called in tables.

    `extras` are what its network gives beside the targets in training: an objective must compare them. `intermediates`
    are images like its only target that it makes on the way and gives as well: an objective may look at one of them.
    Weights of a family `of_any_bands` fit every task: a run of one may start from a run of another.
    """

    extras: ClassVar[tuple[str, ...]] = ()
    intermediates: ClassVar[tuple[str, ...]] = ()
    of_any_bands: ClassVar[bool] = False

    family: str

    def refuses(self, task: Task) -> str | None:
        """Return why the family cannot do a task, None if it can."""
        return None

    def label(self, task: Task) -> str:
        """Return what the network of a task is called in tables."""
        return self.family
