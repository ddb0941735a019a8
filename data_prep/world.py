"""What preparation asks of the ranks that share its work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from hpc_sr.errors import HpcSrError

R = TypeVar("R")


class World(Protocol):
    """The ranks that share the work (hpc_sr.comm.mpi). The methods are collective."""

    rank: int
    world_size: int

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value."""
        ...

    def share_out(self, work: Callable[[int], R], count: int, on_result: Callable[[int, R], None]) -> list[R]:
        """Return work(0) .. work(count - 1), each done by one rank; rank 0 hears of each as it comes."""
        ...


def on_root(world: World, work: Callable[[], R]) -> R:
    """Return what the work gives on rank 0, or raise on every rank the HpcSrError that it raises there."""
    result: Any = None
    if world.rank == 0:
        try:
            result = work()
        except HpcSrError as error:
            result = error
    result = world.broadcast(result)
    if isinstance(result, HpcSrError):
        raise result
    return result
