"""Ranks that are threads of one process: for tests of what ranks agree on, not of how they talk."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.comm.ranked import RankedComm
from hpc_sr.errors import HpcSrError


class ThreadComm(RankedComm, SerialComm):
    """One of several ranks that are threads. Models are not distributed: each rank keeps its own gradients."""

    def __init__(self, rank: int, table: list[Any], meeting: threading.Barrier):
        super().__init__()
        self.rank, self.world_size, self._table, self._meeting = rank, len(table), table, meeting

    def gather(self, value: Any) -> list[Any]:
        self._table[self.rank] = value
        self._meeting.wait(timeout=600)
        told = list(self._table)
        self._meeting.wait(timeout=600)
        return told

    def broadcast(self, value: Any, root: int = 0) -> Any:
        return self.gather(value)[root]

    def gather_tensors(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        return self.gather(tensor)

    def abort(self, code: int = 1) -> None:
        raise SystemExit(code)  # of this thread: the process is the test's


def on_ranks(ranks: int, work: Callable[[ThreadComm], Any]) -> list[Any]:
    """Return what `work(comm)` returns, or which of our errors it raises, on each rank."""
    table, meeting = [None] * ranks, threading.Barrier(ranks)

    def run(rank: int) -> Any:
        try:
            return work(ThreadComm(rank, table, meeting))
        except HpcSrError as error:
            return error

    with ThreadPoolExecutor(ranks) as pool:
        return list(pool.map(run, range(ranks)))
