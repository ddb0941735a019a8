"""The figure of a schedule: its curves are the schedule's own rates, and what cannot be drawn is left out or told."""

from __future__ import annotations

import pytest
from matplotlib.axes import Axes

from hpc_sr.errors import OutputError, RecipeError
from hpc_sr.report.figures.schedule import draw_schedules
from hpc_sr.train.options import OptimizerOptions, ScheduleOptions, TrainOptions
from hpc_sr.train.schedule import resolve


@pytest.fixture
def drawn(monkeypatch) -> list:
    """What is plotted: (x, y, label) of every line."""
    lines = []
    plot = Axes.plot

    def spy(self, *args, **kwargs):
        lines.append((args[0], args[1], kwargs.get("label")))
        return plot(self, *args, **kwargs)

    monkeypatch.setattr(Axes, "plot", spy)
    return lines


def schedule_of(train: TrainOptions | None = None, **options):
    given = ScheduleOptions(**{"total_samples": 384_000, **options})
    return lambda ranks: resolve(given, OptimizerOptions(), train or TrainOptions(batch_size_per_rank=128), ranks)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"warmup_samples": 6400, "decay": "cosine"},
        {"lr_scaling": "modified_linear", "decay": "step", "step_every_samples": 100_000},
        {"lr_scaling": "sqrt", "decay": "step", "step_every_samples": 100, "step_factor": 0.99, "min_lr": 1e-6},
        {"lr_scaling": "none", "decay": "exponential", "step_every_samples": 20_800, "step_factor": 0.9},
        {"lr_scaling": "none", "decay": "plateau", "patience_samples": 1000, "warmup_samples": 10},
    ],
)
def test_curves_are_the_rates_at_the_starts_of_updates_and_miss_no_peak(tmp_path, drawn, options):
    of = schedule_of(**options)
    draw_schedules("name", of, 3, tmp_path / "s.png")
    assert (tmp_path / "s.png").read_bytes()[:4] == b"\x89PNG"
    assert len(drawn) == 5
    for ranks, (samples, rates, label) in zip((1, 3, 4, 16, 64), drawn, strict=True):
        schedule = of(ranks)
        assert rates == [schedule.learning_rate(int(position)) for position in samples]
        assert all(samples % schedule.global_batch_size == 0)
        every = [schedule.learning_rate(s) for s in range(0, 384_000, schedule.global_batch_size)]
        assert max(rates) == max(every) and rates[0] == every[0] and rates[-1] == every[-1]
        assert f"{schedule.global_batch_size:,}" in label and f"{schedule.steps_left():,} steps" in label


def test_jumps_and_the_end_of_a_warm_up_are_drawn_where_they_are_however_long_the_run(tmp_path, drawn):
    every, warm_up = 12_345_600, 12_800
    of = schedule_of(total_samples=38_400_000, warmup_samples=warm_up, decay="step", step_every_samples=every)
    draw_schedules("name", of, 1, tmp_path / "s.png")
    samples, rates, _ = drawn[0]
    falls = [(a, b) for a, b, high, low in zip(samples, samples[1:], rates, rates[1:], strict=False) if low < high]
    assert falls == [(k * every - 128, k * every) for k in (1, 2, 3)]
    assert samples[rates.index(max(rates))] == warm_up - 128
    assert len(samples) < 5000


def test_numbers_of_ranks_with_one_global_batch_share_a_curve_and_others_are_left_out(tmp_path, drawn):
    of = schedule_of(TrainOptions(global_batch_size=48))
    draw_schedules("name", of, 2, tmp_path / "s.png")
    ((_, _, label),) = drawn
    assert label.startswith("1, 2, 4, 16 ranks:")
    with pytest.raises(RecipeError, match="5 ranks"):
        draw_schedules("name", of, 5, tmp_path / "s.png")


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(OutputError):
        draw_schedules("name", schedule_of(), 1, tmp_path / "nowhere" / "s.png")
