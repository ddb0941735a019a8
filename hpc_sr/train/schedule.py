"""Learning rates: pure functions of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hpc_sr.train.options import OptimizerOptions, ScheduleOptions


@dataclass(frozen=True)
class Schedule:
    """A schedule resolved for one world size: everything in steps. `peak_lr` is the rate after warm-up."""

    peak_lr: float
    total_steps: int
    warmup_steps: int
    decay: str
    halve_every_steps: int | None

    def learning_rate(self, step: int) -> float:
        """Return the rate of the update that takes the run from `step` to `step + 1`."""
        if step < self.warmup_steps:
            return self.peak_lr * (step + 1) / self.warmup_steps
        if self.decay == "cosine":
            share = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
            return self.peak_lr * 0.5 * (1.0 + math.cos(math.pi * min(share, 1.0)))
        if self.decay == "halving" and self.halve_every_steps:
            return self.peak_lr * 0.5 ** (step // self.halve_every_steps)
        return self.peak_lr


def resolve(
    schedule: ScheduleOptions, optimizer: OptimizerOptions, *, global_batch_size: int, world_size: int
) -> Schedule:
    """Return the schedule in steps: the last step sees the last of `total_samples`, durations are rounded up."""

    def steps(samples: int) -> int:
        return -(-samples // global_batch_size)

    factor = world_size if schedule.lr_scaling == "linear" else 1
    halve = schedule.halve_every_samples
    return Schedule(
        peak_lr=optimizer.base_lr * factor,
        total_steps=steps(schedule.total_samples),
        warmup_steps=steps(schedule.warmup_samples),
        decay=schedule.decay,
        halve_every_steps=steps(halve) if halve else None,
    )


def is_due(step: int, every: int) -> bool:
    """Return whether something that happens every so many steps happens after this one."""
    return step % every == 0
