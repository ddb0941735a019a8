"""How long the ranks take to average gradients, by their size: what a model of scaling is calibrated with."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from hpc_sr.comm.communicator import Comm

#: From what latency decides to what bandwidth does.
SIZES_BYTES = tuple(2**k for k in range(12, 26, 2)) + (2**25,)
_ROUNDS = 7


class _Values(nn.Module):
    """A network that is nothing but parameters: its backward pass is an exchange."""

    def __init__(self, count: int):
        super().__init__()
        self.values = nn.Parameter(torch.zeros(count))

    def forward(self) -> torch.Tensor:
        return self.values.sum()


def time_exchange(comm: Comm) -> list[dict[str, float]]:
    """Return the bytes of float32 gradients and the seconds until every rank has their mean. Collective.

    By the path that training takes, without what computing takes. A world of one exchanges nothing: the list is empty.
    """
    return [_timed(comm, size) for size in SIZES_BYTES] if comm.world_size > 1 else []


def _timed(comm: Comm, size_bytes: int) -> dict[str, float]:
    network = _Values(size_bytes // 4).to(comm.device)
    forward, _ = comm.distribute(network, torch.optim.SGD(network.parameters(), lr=0.0))

    def alone() -> None:
        with comm.local_gradients(forward):
            forward().backward()

    computing_s = _median_s(comm, network, alone)
    seconds = _median_s(comm, network, lambda: forward().backward()) - computing_s
    # The slowest rank's: an exchange is over when all have the mean.
    return {"bytes": size_bytes, "seconds": max(1e-7, *comm.gather(seconds))}


def _median_s(comm: Comm, network: _Values, work: Callable[[], None]) -> float:
    seconds = []
    for _ in range(_ROUNDS + 1):
        comm.barrier()
        began = time.perf_counter()
        work()
        network.values.grad[0].item()  # type: ignore[index]  # waits for the device
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])
