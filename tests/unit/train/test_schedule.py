"""Batches and learning rates: in samples, hence the same for any number of ranks."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hpc_sr.errors import RecipeError
from hpc_sr.train.options import OptimizerOptions, ScheduleOptions, TrainOptions
from hpc_sr.train.schedule import Schedule, is_due, resolve

ADAM = OptimizerOptions(base_lr=1e-3)
EVERY = {"step_every_samples": 1600}
DECAYS = {"constant": {}, "cosine": {}, "step": EVERY, "exponential": EVERY, "plateau": {"patience_samples": 100}}


def resolved(ranks: int = 1, batch: int = 16, train: dict | None = None, **schedule) -> Schedule:
    options = TrainOptions(batch_size_per_rank=batch, **(train or {}))
    return resolve(ScheduleOptions(**{"total_samples": 6400, **schedule}), ADAM, options, ranks)


@pytest.mark.parametrize(("scaling", "factor"), [("none", 1), ("linear", 4), ("modified_linear", 4), ("sqrt", 2)])
def test_the_rate_is_scaled_by_the_global_batch(scaling: str, factor: float) -> None:
    decay = DECAYS["step"] | {"decay": "step"} if scaling == "modified_linear" else {}
    for ranks, train in ((4, {}), (1, {"accumulation_steps": 4}), (2, {"global_batch_size": 64})):
        schedule = resolved(ranks, train=train, lr_scaling=scaling, **decay)
        assert schedule.global_batch_size == 64
        assert schedule.learning_rate(0) == pytest.approx(factor * 1e-3)
    assert resolved(4, lr_scaling=scaling, base_batch_size=64, **decay).peak_lr == pytest.approx(1e-3)


@pytest.mark.parametrize("decay", DECAYS)
@given(samples=st.integers(640, 10_000), ranks=st.integers(1, 64))
def test_after_warm_up_the_rate_is_a_function_of_samples_for_any_ranks(decay: str, samples: int, ranks: int) -> None:
    options = {"lr_scaling": "none", "decay": decay, "warmup_samples": 640, **DECAYS[decay]}
    one, many = resolved(1, **options), resolved(ranks, **options)
    assert many.learning_rate(samples) == one.learning_rate(samples)


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("ranks", [1, 3, 8])
def test_warm_up_rises_to_the_peak_in_equal_steps(decay: str, ranks: int) -> None:
    schedule = resolved(ranks, warmup_samples=640, lr_scaling="none", decay=decay, **DECAYS[decay])
    size = schedule.global_batch_size
    rates = [schedule.learning_rate(samples) for samples in range(0, 640, size)]
    assert rates == sorted(rates) and rates[0] == pytest.approx(1e-3 * size / 640)
    assert (
        rates[-1] == pytest.approx(1e-3) == schedule.learning_rate(640 if decay in ("cosine", "exponential") else 700)
    )


def test_cosine_falls_to_the_floor() -> None:
    schedule = resolved(decay="cosine", min_lr=1e-5)
    rates = [schedule.learning_rate(samples) for samples in range(0, 6401, 16)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(1e-3) and rates[-1] == pytest.approx(1e-5)
    assert rates[200] == pytest.approx((1e-3 + 1e-5) / 2)


def test_an_exponential_decay_is_even_and_ends_above_the_floor() -> None:
    schedule = resolved(decay="exponential", step_factor=0.9, min_lr=1e-5, **EVERY)
    above = [schedule.learning_rate(samples) - 1e-5 for samples in (0, 800, 1600, 3200, 6400)]
    assert above == [pytest.approx(9.9e-4 * 0.9**share) for share in (0, 0.5, 1, 2, 4)]
    with pytest.raises(ValidationError, match="decay=step or exponential and step_every_samples go together"):
        resolved(decay="exponential")
    assert "x 0.9 over each 1,600 samples, down to 1e-05" in schedule.describe()


def test_modified_linear_is_the_rule_of_the_thesis() -> None:
    # k ranks: initial rate x k, halved every n / k steps.
    n, k, batch = 100, 4, 16
    halving = {"lr_scaling": "modified_linear", "decay": "step", "step_every_samples": n * batch}
    schedule = resolved(k, batch, total_samples=n * batch * 3, **halving)
    rates = [schedule.learning_rate(step * k * batch) for step in range(3 * n // k)]
    assert rates == [pytest.approx(k * 1e-3 * 0.5 ** (step // (n // k))) for step in range(3 * n // k)]


def test_plateaus_lower_the_rate_down_to_the_floor() -> None:
    schedule = resolved(decay="plateau", patience_samples=100, step_factor=0.1, min_lr=5e-5)
    assert [schedule.learning_rate(5000, n) for n in range(4)] == [
        pytest.approx(rate) for rate in (1e-3, 1e-4, 5e-5, 5e-5)
    ]


@given(size=st.integers(1, 3000), ranks=st.integers(1, 40), most=st.integers(1, 200))
def test_a_global_batch_is_shared_out_to_any_ranks_that_divide_it(size: int, ranks: int, most: int) -> None:
    train = {"global_batch_size": size}
    if size % ranks:
        with pytest.raises(RecipeError, match="equal parts"):
            resolved(ranks, most, train)
        return
    schedule = resolved(ranks, most, train)
    assert schedule.batch_size_per_rank * schedule.accumulation_steps * ranks == size
    assert schedule.batch_size_per_rank <= most
    # No fewer parts would do.
    share = size // ranks
    assert not any(share % n == 0 and share // n <= most for n in range(1, schedule.accumulation_steps))


@given(ranks=st.integers(1, 9), done=st.integers(0, 700))
def test_the_steps_left_see_the_rest_of_the_samples(ranks: int, done: int) -> None:
    schedule = resolved(ranks, total_samples=650)
    left = schedule.steps_left(done)
    assert left == max(0, math.ceil((650 - done) / (16 * ranks)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"decay": "step"},
        {"step_every_samples": 5},
        {"decay": "plateau"},
        {"patience_samples": 5},
        {"lr_scaling": "modified_linear"},
        {"warmup_samples": 6400},
        {"lr_scaling": "modified_linear", "decay": "step", "step_every_samples": 5, "step_factor": 0.1},
    ],
)
def test_what_does_not_go_together_is_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        resolved(**wrong)


def test_a_floor_above_the_peak_is_refused() -> None:
    with pytest.raises(RecipeError, match="above the peak"):
        resolved(decay="cosine", min_lr=2e-3)


def test_the_description_names_the_numbers() -> None:
    told = resolved(4, lr_scaling="sqrt", warmup_samples=640, decay="step", step_every_samples=1600).describe()
    assert "0.001 x 2 (sqrt) = 0.002" in told and "640" in told and "x 0.5 every 1,600" in told


def test_what_is_periodic_happens_at_multiples() -> None:
    assert [step for step in range(1, 11) if is_due(step, 5)] == [5, 10]
