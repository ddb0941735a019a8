"""References that are of no use, in training: a network that has seen none falls apart when it meets one."""

from __future__ import annotations

from dataclasses import replace

import torch

from hpc_sr.data.loader import Batch
from hpc_sr.models.draws import uniform

#: Keeps these numbers apart from others that are made of the same draws.
_USELESS = 0x5E1E55


def with_useless(batch: Batch, share: float) -> Batch:
    """Return the batch with that share of its samples' references made useless, by each sample's own draw.

    Half of these are black, as where nothing is known; half are turned by 180 degrees, as of other ground.
    """
    chance = uniform(batch.draws ^ _USELESS, 1, 1, 1)
    reference = batch.layers["ref"]
    turned = torch.where(chance < share, reference.flip(2, 3), reference)
    made = torch.where(chance < share / 2, torch.zeros_like(turned), turned)
    return replace(batch, layers={**batch.layers, "ref": made})
