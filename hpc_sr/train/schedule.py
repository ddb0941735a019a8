"""Batches and learning rates for a number of ranks: pure functions of the samples seen.

Linear scaling with the batch: Goyal et al. 2017, https://arxiv.org/abs/1706.02677; its root for Adam: Malladi et al.
2022, https://arxiv.org/abs/2205.10287.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hpc_sr.errors import RecipeError
from hpc_sr.train.options import OptimizerOptions, ScheduleOptions, TrainOptions


@dataclass(frozen=True)
class Schedule:
    """A schedule resolved for one world size.

    Each rank gives `accumulation_steps` batches of `batch_size_per_rank` to an update, all ranks together
    `global_batch_size`. `lr_factor` is what scaling made of base_lr.
    """

    options: ScheduleOptions
    base_lr: float
    lr_factor: float
    batch_size_per_rank: int
    accumulation_steps: int
    global_batch_size: int

    @property
    def peak_lr(self) -> float:
        """The rate after warm-up."""
        return self.base_lr * self.lr_factor

    def steps_left(self, samples: int = 0) -> int:
        """Return how many updates bring a run from stream position `samples` to its end."""
        return max(0, -(-(self.options.total_samples - samples) // self.global_batch_size))

    def learning_rate(self, samples: int, reductions: int = 0) -> float:
        """Return the rate of the update that starts at stream position `samples` (those of all ranks so far).

        `reductions` counts how often validation has come to a plateau.
        """
        options = self.options
        if samples < options.warmup_samples:
            return self.peak_lr * min(1.0, (samples + self.global_batch_size) / options.warmup_samples)
        rate = self.peak_lr
        since = samples - options.warmup_samples
        if options.decay == "cosine":
            share = since / (options.total_samples - options.warmup_samples)
            rate = self._fallen(0.5 * (1.0 + math.cos(math.pi * min(share, 1.0))))
        elif options.decay == "exponential":
            assert options.step_every_samples is not None
            rate = self._fallen(options.step_factor ** (since / options.step_every_samples))
        elif options.step_every_samples is not None:
            rate *= options.step_factor ** (samples // options.step_every_samples)
        elif options.decay == "plateau":
            rate *= options.step_factor**reductions
        return max(rate, options.min_lr)

    def _fallen(self, share: float) -> float:
        """Return the rate at which so much is left of what the peak is above the floor."""
        return self.options.min_lr + (self.peak_lr - self.options.min_lr) * share

    def describe(self) -> str:
        """Return the schedule in a line."""
        options = self.options
        scaled = f"{self.base_lr:.3g} x {self.lr_factor:.4g} ({options.lr_scaling}) = {self.peak_lr:.3g}"
        warm = f", warm-up over {options.warmup_samples:,} samples" if options.warmup_samples else ""
        then = {
            "constant": "constant",
            "cosine": f"cosine to {options.min_lr:.3g}",
            "step": f"x {options.step_factor:g} every {options.step_every_samples or 0:,} samples",
            "exponential": f"x {options.step_factor:g} over each {options.step_every_samples or 0:,} samples, "
            f"down to {options.min_lr:.3g}",
            "plateau": f"x {options.step_factor:g} after {options.patience_samples or 0:,} samples of no gain",
        }[options.decay]
        return f"learning rate {scaled}{warm}, {then}; {options.total_samples:,} samples in all"


def resolve(schedule: ScheduleOptions, optimizer: OptimizerOptions, train: TrainOptions, world_size: int) -> Schedule:
    """Return the schedule for so many ranks. Raises RecipeError if they cannot share train.global_batch_size."""
    batch, accumulation = train.batch_size_per_rank, train.accumulation_steps
    if train.global_batch_size is not None:
        batch, accumulation = _shared_out(train.global_batch_size, world_size, train.batch_size_per_rank)
    size = batch * accumulation * world_size
    k = size / (schedule.base_batch_size or train.batch_size_per_rank)
    factor = {"none": 1.0, "linear": k, "modified_linear": k, "sqrt": math.sqrt(k)}[schedule.lr_scaling]
    if schedule.min_lr > optimizer.base_lr * factor:
        raise RecipeError(
            f"is {schedule.min_lr}, above the peak rate {optimizer.base_lr * factor:.3g} of {world_size} ranks",
            where="schedule.min_lr",
            cure="lower it",
        )
    return Schedule(schedule, optimizer.base_lr, factor, batch, accumulation, size)


def _shared_out(global_batch_size: int, world_size: int, most_at_a_time: int) -> tuple[int, int]:
    """Return each rank's batch, at most `most_at_a_time`, and how many of them an update takes."""
    share, rest = divmod(global_batch_size, world_size)
    if rest or not share:
        raise RecipeError(
            f"{global_batch_size} samples cannot be shared out to {world_size} ranks in equal parts",
            where="train.global_batch_size",
            cure="start a number of ranks that divides it",
        )
    parts = next(n for n in range(-(-share // most_at_a_time), share + 1) if share % n == 0)
    return share // parts, parts


def is_due(step: int, every: int) -> bool:
    """Return whether something that happens every so many steps happens after this one."""
    return step % every == 0
