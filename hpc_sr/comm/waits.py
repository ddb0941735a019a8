"""How long a rank waits for the others, measured without waiting: on a GPU moments are events, read when asked for."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

import torch

#: A moment: seconds on the host's clock, or an event in the device's stream.
Moment = float | torch.cuda.Event


@dataclass
class Wait:
    """When this rank was ready, and when each part of what the others have was there."""

    ready: Moment | None = None
    done: list[Moment] = field(default_factory=list)


class Waits:
    """Waits of one kind, one after the other."""

    def __init__(self) -> None:
        self._settled_s = 0.0
        self._waits: deque[Wait] = deque()

    def begin(self) -> Wait:
        """Return the next wait, for the caller to fill in; the one before must be complete."""
        while self._waits and _has_passed(self._waits[0]):
            self._settled_s += _seconds_of(self._waits.popleft())
        self._waits.append(Wait())
        return self._waits[-1]

    @property
    def total_s(self) -> float:
        """Seconds from ready to the last part of each wait, added up."""
        while self._waits:
            self._settled_s += _seconds_of(self._waits.popleft())
        return self._settled_s


def moment(device: torch.device) -> Moment:
    """Return now, as the device sees it."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _has_passed(wait: Wait) -> bool:
    return all(isinstance(done, float) or done.query() for done in wait.done)


def _seconds_of(wait: Wait) -> float:
    return max([0.0, *(_seconds(wait.ready, done) for done in wait.done)])


def _seconds(ready: Moment | None, done: Moment) -> float:
    if isinstance(ready, float) and isinstance(done, float):
        return done - ready
    assert ready is not None and not isinstance(ready, float) and not isinstance(done, float)
    done.synchronize()
    return ready.elapsed_time(done) / 1000
