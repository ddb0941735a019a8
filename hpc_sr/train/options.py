"""The `optimizer`, `schedule` and `train` sections of a recipe.

Lengths of training are in samples of all ranks together, so a recipe means the same on 1 and on 64 GPUs; what is
merely periodic (logs, validation, checkpoints) is in optimizer steps.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hpc_sr.config import Section

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class OptimizerOptions(Section):
    """Adam. `base_lr` is the learning rate of one rank; the schedule scales it."""

    base_lr: Positive = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    eps: Positive = 1e-8


class ScheduleOptions(Section):
    """The learning rate over the run.

    `lr_scaling: linear` multiplies base_lr by the number of ranks (Goyal et al. 2017); `none` does not. It rises
    linearly over `warmup_samples`, then stays (`constant`), falls to 0 (`cosine`), or halves every
    `halve_every_samples` (`halving`; with linear scaling this is the modified linear rule of the thesis: initial rate
    x k, halved every n / k steps on k ranks).
    """

    total_samples: Count
    lr_scaling: Literal["none", "linear"] = "linear"
    decay: Literal["constant", "cosine", "halving"] = "constant"
    warmup_samples: Annotated[int, Field(ge=0)] = 0
    halve_every_samples: Count | None = None


class TrainOptions(Section):
    """Batches, precision, seed and how often things happen. `runs` is the folder that run directories lie in."""

    batch_size_per_rank: Count = 128
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    augment: bool = True
    seed: int = 0
    runs: str = "runs"
    log_every_steps: Count = 50
    evaluate_every_steps: Count = 1000
    checkpoint_every_steps: Count = 1000
    keep_checkpoints: Count = 2
