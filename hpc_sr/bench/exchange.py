"""How long the ranks take to average a tensor, by its size: what a model of scaling is calibrated with."""

from __future__ import annotations

import statistics
import time

import torch

from hpc_sr.comm.communicator import Comm

#: From what latency decides to what bandwidth does.
SIZES_BYTES = tuple(2**k for k in range(12, 26, 2)) + (2**25,)
_ROUNDS = 7


def time_exchange(comm: Comm) -> list[dict[str, float]]:
    """Return the bytes of float32 tensors and the median seconds until every rank has their mean. Collective.

    A world of one exchanges nothing: the list is empty.
    """
    return [_timed(comm, size) for size in SIZES_BYTES] if comm.world_size > 1 else []


def _timed(comm: Comm, size_bytes: int) -> dict[str, float]:
    tensor, seconds = torch.ones(size_bytes // 4, device=comm.device), []
    for _ in range(_ROUNDS + 1):
        comm.barrier()
        began = time.perf_counter()
        comm.mean_with_gradient(tensor)[0].item()  # waits for the device
        seconds.append(time.perf_counter() - began)
    # The slowest rank's: an exchange is over when all have the mean.
    return {"bytes": size_bytes, "seconds": max(comm.gather(statistics.median(seconds[1:])))}
