"""Learning rates: in samples, hence the same for any number of ranks."""

from __future__ import annotations

import pytest

from hpc_sr.train.options import OptimizerOptions, ScheduleOptions
from hpc_sr.train.schedule import is_due, resolve

ADAM = OptimizerOptions(base_lr=1e-3)


def test_linear_scaling_multiplies_by_the_ranks_and_none_does_not() -> None:
    for scaling, factor in (("linear", 4), ("none", 1)):
        schedule = resolve(
            ScheduleOptions(total_samples=1000, lr_scaling=scaling), ADAM, global_batch_size=40, world_size=4
        )
        assert schedule.learning_rate(0) == pytest.approx(factor * 1e-3)


@pytest.mark.parametrize("decay", ["constant", "cosine", "halving"])
def test_the_rate_is_a_function_of_samples_for_any_number_of_ranks(decay: str) -> None:
    options = ScheduleOptions(
        total_samples=6400, lr_scaling="none", decay=decay, warmup_samples=640,
        halve_every_samples=1600 if decay == "halving" else None,
    )  # fmt: skip
    one = resolve(options, ADAM, global_batch_size=16, world_size=1)
    four = resolve(options, ADAM, global_batch_size=64, world_size=4)
    assert (one.total_steps, four.total_steps) == (400, 100)
    for step in range(four.warmup_steps, 100):
        assert four.learning_rate(step) == pytest.approx(one.learning_rate(4 * step))


def test_warm_up_rises_to_the_peak_and_cosine_ends_near_zero() -> None:
    options = ScheduleOptions(total_samples=1000, decay="cosine", warmup_samples=100)
    schedule = resolve(options, ADAM, global_batch_size=1, world_size=1)
    rates = [schedule.learning_rate(step) for step in range(1000)]
    assert rates[0] == pytest.approx(1e-5)
    assert rates[:100] == sorted(rates[:100]) and rates[99] == pytest.approx(1e-3)
    assert rates[100:] == sorted(rates[100:], reverse=True) and rates[-1] < 1e-8


def test_halving_is_the_modified_linear_rule() -> None:
    # k ranks: initial rate x k, halved every n / k steps.
    n, k = 100, 4
    options = ScheduleOptions(total_samples=n * 8, decay="halving", halve_every_samples=n * 2)
    schedule = resolve(options, ADAM, global_batch_size=2 * k, world_size=k)
    assert schedule.learning_rate(0) == pytest.approx(k * 1e-3)
    assert schedule.learning_rate(n // k - 1) == pytest.approx(k * 1e-3)
    assert schedule.learning_rate(n // k) == pytest.approx(k * 0.5e-3)


def test_what_is_periodic_happens_at_multiples() -> None:
    assert [step for step in range(1, 11) if is_due(step, 5)] == [5, 10]
