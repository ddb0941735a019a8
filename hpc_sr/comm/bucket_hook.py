"""How DDP exchanges a bucket of gradients here: its own arithmetic, timed, as half precision if asked."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

import torch
import torch.distributed as dist

#: A moment: seconds on the host's clock, or an event in the device's stream.
Moment = float | torch.cuda.Event


@dataclass
class _Backward:
    """When the last gradient of a backward pass was ready, and when each bucket's mean was there."""

    ready: Moment | None = None
    done: list[Moment] = field(default_factory=list)


class BucketHook:
    """DDP's communication hook: each bucket's mean over ranks, and the time that this takes beyond backward.

    Nothing waits in the step: on a GPU moments are events, read when `waited_s` is asked for.
    """

    def __init__(self, world_size: int, compression: str):
        self._world_size, self._compression = world_size, compression
        self._waited_s = 0.0
        self._backwards: deque[_Backward] = deque()

    def __call__(self, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        if bucket.index() == 0:
            self._settle_those_done()
            self._backwards.append(_Backward())
        backward, gradients = self._backwards[-1], bucket.buffer()
        # Divided first: a sum of many ranks may leave the range of half precision.
        if self._compression == "fp16":
            sent = gradients.to(torch.float16).div_(self._world_size)
        else:
            sent = gradients.div_(self._world_size)
        if bucket.is_last():
            backward.ready = _moment(gradients.device)
        future = dist.all_reduce(sent, async_op=True).get_future()

        def take(future: torch.futures.Future[list[torch.Tensor]]) -> torch.Tensor:
            (mean,) = future.value()
            if mean.dtype != gradients.dtype:
                mean = gradients.copy_(mean)
            backward.done.append(_moment(gradients.device))
            return mean

        return future.then(take)

    @property
    def waited_s(self) -> float:
        """Seconds from the last gradient of each backward pass to the last mean, added up."""
        while self._backwards:
            self._waited_s += _wait_of(self._backwards.popleft())
        return self._waited_s

    def _settle_those_done(self) -> None:
        while self._backwards and _has_passed(self._backwards[0]):
            self._waited_s += _wait_of(self._backwards.popleft())


def _moment(device: torch.device) -> Moment:
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _has_passed(backward: _Backward) -> bool:
    return all(isinstance(moment, float) or moment.query() for moment in backward.done)


def _wait_of(backward: _Backward) -> float:
    return max([0.0, *(_seconds(backward.ready, done) for done in backward.done)])


def _seconds(ready: Moment | None, done: Moment) -> float:
    if isinstance(ready, float) and isinstance(done, float):
        return done - ready
    done.synchronize()
    return ready.elapsed_time(done) / 1000
