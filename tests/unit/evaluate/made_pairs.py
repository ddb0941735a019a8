"""Made-up references and estimates, and their scores."""

from __future__ import annotations

import torch

from hpc_sr.evaluate.metrics.measure import finish, measure


def random_pair(shape=(6, 40, 52), noise=80.0, seed=0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a smooth-ish image on the scale of reflectance x 10 000 and an estimate of it."""
    generator = torch.Generator().manual_seed(seed)
    reference = 2000 + 300 * torch.randn(shape, generator=generator).cumsum(-1).double()
    return reference, reference + noise * torch.randn(shape, generator=generator).double()


def scores(reference: torch.Tensor, estimate: torch.Tensor, scale: int = 2, **where) -> dict:
    bands = tuple(f"B{index}" for index in range(reference.shape[-3]))
    return finish(measure(reference, estimate, **where), bands, scale)
