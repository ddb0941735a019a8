"""Random numbers of samples: the same for a sample on any number of ranks, beside any others, on any device.

A generator seeded alike on all ranks would give different samples the same numbers, one seeded by rank would give a
sample other numbers on other ranks.
"""

from __future__ import annotations

import math

import torch

#: SplitMix64 (Steele, Lea and Flood 2014, https://doi.org/10.1145/2714064.2660195), as signed 64-bit integers.
_STEP, _FIRST, _SECOND = (value - 2**64 for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def uniform(draws_B: torch.Tensor, *shape: int) -> torch.Tensor:
    """Return numbers of [0, 1) for each sample, (B, *shape) float32, a function of its draw alone.

    No value is looked at on the host, so a GPU need not be waited for.
    """
    counts = torch.arange(1, math.prod(shape) + 1, device=draws_B.device)
    mixed = draws_B.view(-1, 1) + counts * _STEP
    mixed = (mixed ^ _shifted(mixed, 30)) * _FIRST
    mixed = (mixed ^ _shifted(mixed, 27)) * _SECOND
    mixed = mixed ^ _shifted(mixed, 31)
    return (_shifted(mixed, 40).float() * 2.0**-24).view(-1, *shape)


def gaussian(draws_B: torch.Tensor, *shape: int) -> torch.Tensor:
    """Return numbers of mean 0 and deviation 1 for each sample, (B, *shape) float32, a function of its draw alone.

    Two of two uniform ones: r cos(2 pi v) and r sin(2 pi v), r = sqrt(-2 ln(1 - u)).
    Source: Box and Muller 1958, https://doi.org/10.1214/aoms/1177706645.
    """
    count = math.prod(shape)
    lengths, angles = uniform(draws_B, 2, -(-count // 2)).unbind(1)
    lengths, angles = (-2 * torch.log1p(-lengths)).sqrt(), 2 * math.pi * angles
    both = torch.cat([lengths * angles.cos(), lengths * angles.sin()], 1)
    return both[:, :count].reshape(-1, *shape)


def _shifted(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the values shifted to the right as if they had no sign."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)
