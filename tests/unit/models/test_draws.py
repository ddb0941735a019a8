"""Random numbers of samples: SplitMix64's, uniform, and a matter of the sample alone."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from hpc_sr.data.order import SampleStream
from hpc_sr.models.draws import gaussian, uniform

draws = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5)


def _splitmix64(state: int, count: int) -> list[int]:
    found = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        found.append(z ^ (z >> 31))
    return found


def test_the_generator_is_the_published_one() -> None:
    published = 6457827717110365317, 3203168211198807973
    assert uniform(torch.tensor([1234567]), 2).tolist() == [[value / 2**64 // 2**-24 * 2**-24 for value in published]]


@given(draws)
def test_each_sample_has_the_numbers_of_its_own_generator(draws: list[int]) -> None:
    """Whatever samples are beside it: on any number of ranks a sample sees the same ones."""
    found = uniform(torch.tensor(draws), 2, 3)
    assert found.shape == (len(draws), 2, 3) and found.dtype == torch.float32
    for values, draw in zip(found, draws, strict=True):
        assert values.flatten().tolist() == [(value >> 40) / 2**24 for value in _splitmix64(draw, 6)]


def test_numbers_are_uniform_and_independent() -> None:
    """Over the samples of a stream and their own numbers, within five standard deviations."""
    samples = torch.from_numpy(SampleStream([20_000], 0).take(0, 20_000)[2])
    values = uniform(samples, 8).double()
    assert values.min() >= 0 and values.max() < 1
    shares = torch.histc(values, 16, 0, 1) / values.numel()
    assert (shares - 1 / 16).abs().max() < 5 * (1 / 16 / values.numel()) ** 0.5
    between = torch.corrcoef(values.T) - torch.eye(8)
    assert between.abs().max() < 5 / 20_000**0.5
    assert torch.equal(uniform(samples), uniform(samples, 1)[:, 0])


@given(draws, st.integers(1, 5))
def test_gaussian_numbers_are_a_matter_of_the_sample_alone(draws: list[int], count: int) -> None:
    found = gaussian(torch.tensor(draws), 1, count)
    assert found.shape == (len(draws), 1, count) and found.isfinite().all()
    alone = torch.cat([gaussian(torch.tensor([draw]), 1, count) for draw in draws])
    assert torch.equal(found, alone)


def test_gaussian_numbers_are_gaussian() -> None:
    """Shares of eight quantiles over a stream, and independence of the two of a pair, within five deviations."""
    samples = torch.from_numpy(SampleStream([20_000], 0).take(0, 20_000)[2])
    values = gaussian(samples, 4).double()
    shares = torch.histc(torch.special.ndtr(values), 8, 0, 1) / values.numel()
    assert (shares - 1 / 8).abs().max() < 5 * (1 / 8 / values.numel()) ** 0.5
    for numbers in (values, values.square()):
        between = torch.corrcoef(numbers.T) - torch.eye(4)
        assert between.abs().max() < 5 / 20_000**0.5
