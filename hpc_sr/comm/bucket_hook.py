"""How DDP exchanges a bucket of gradients here: its own arithmetic, timed, as half precision if asked."""

from __future__ import annotations

import torch
import torch.distributed as dist

from hpc_sr.comm.waits import Wait, Waits, moment


class BucketHook:
    """DDP's communication hook: each bucket's mean over ranks, and the time that this takes beyond backward."""

    def __init__(self, world_size: int, compression: str):
        self._world_size, self._compression = world_size, compression
        self._waits = Waits()
        self._backward = Wait()

    def __call__(self, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        if bucket.index() == 0:
            self._backward = self._waits.begin()
        backward, gradients = self._backward, bucket.buffer()
        # Divided first: a sum of many ranks may leave the range of half precision.
        if self._compression == "fp16":
            sent = gradients.to(torch.float16).div_(self._world_size)
        else:
            sent = gradients.div_(self._world_size)
        if bucket.is_last():
            backward.ready = moment(gradients.device)
        future = dist.all_reduce(sent, async_op=True).get_future()

        def take(future: torch.futures.Future[list[torch.Tensor]]) -> torch.Tensor:
            (mean,) = future.value()
            if mean.dtype != gradients.dtype:
                mean = gradients.copy_(mean)
            backward.done.append(moment(gradients.device))
            return mean

        return future.then(take)

    @property
    def waited_s(self) -> float:
        """Seconds from the last gradient of each backward pass to the last mean, added up."""
        return self._waits.total_s
