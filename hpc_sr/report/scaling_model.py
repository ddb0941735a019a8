"""A model of data-parallel training: how long a step takes on ranks that nobody has measured.

A rank computes for as long as one step of one rank was measured to take, drawn anew for each rank and step from that
distribution. Its gradients are ready one bucket after the other during the backward pass. A bucket is exchanged when
every rank has it and the one before is through. The step is over when the slowest rank and the last bucket are.

    ring  t = 2 (n - 1) (alpha + S / (n B))                  n ranks, S bytes, latency alpha, bandwidth B
    tree  t = 2 log2(nodes) alpha + 2 (r - 1) alpha' + 2 S / B    r ranks a node, alpha' inside it

An exchange takes the faster one, as NCCL does (Thakur, Rabenseifner and Gropp 2005,
https://doi.org/10.1177/1094342005051521; Sanders, Speck and Traff 2009, https://doi.org/10.1016/j.parco.2009.09.001).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

#: Quantiles of step times, in percent, that a point tells.
QUANTILES = (0, 5, 25, 50, 75, 95, 99, 100)
#: A backward pass computes two gradients for each product of the forward pass.
BACKWARD_SHARE = 2 / 3
#: Steps of a simulated run, and the runs whose spread is told.
_STEPS, _RUNS = 50, 40


@dataclass(frozen=True)
class Links:
    """What a message costs: `latency_s` each, and its bytes over `bytes_per_s`, those of a whole node."""

    latency_s: float
    bytes_per_s: float


@dataclass(frozen=True)
class Cluster:
    """Nodes of `ranks_per_node` ranks: how these talk inside a node and between nodes."""

    name: str
    ranks_per_node: int
    inside: Links
    between: Links

    def exchange_s(self, size_bytes: float, ranks: int) -> float:
        """Return how long so many ranks take to average so many bytes."""
        if ranks == 1:
            return 0.0
        nodes = -(-ranks // self.ranks_per_node)
        if nodes == 1:
            return ring_s(size_bytes, ranks, self.inside)
        links = self.between
        local = 2 * (self.ranks_per_node - 1) * self.inside.latency_s
        tree = 2 * math.log2(nodes) * links.latency_s + local + 2 * size_bytes / links.bytes_per_s
        return min(ring_s(size_bytes, ranks, links), tree)


def ring_s(size_bytes: float, ranks: int, links: Links) -> float:
    """Return how long a ring of ranks takes to average so many bytes."""
    return 2 * (ranks - 1) * (links.latency_s + size_bytes / (ranks * links.bytes_per_s))


#: Nominal bandwidth of a node's network adapters (or of NVLink) times 0.8; latencies as NCCL's own tests show them.
CLUSTERS = {
    "juwels": Cluster("JUWELS: 4 V100 a node, NVLink 2, two EDR adapters", 4, Links(5e-6, 1.2e11), Links(1e-5, 2e10)),
    "juwels_booster": Cluster(
        "JUWELS Booster: 4 A100 a node, NVLink 3, four HDR200 adapters", 4, Links(5e-6, 2.2e11), Links(1e-5, 8e10)
    ),
}


@dataclass(frozen=True)
class Load:
    """What a rank does in a step: `portions` times what takes `step_s` alone, quantiles of a time, on `samples` each.

    Between quantiles times are spread evenly.

    Its gradients are `size_bytes`, exchanged in buckets of `bucket_bytes` during the last portion's backward pass.
    """

    step_s: tuple[float, ...]
    size_bytes: float
    bucket_bytes: float
    samples: int
    portions: int = 1


@dataclass(frozen=True)
class Prediction:
    """Training on `ranks`. `efficiency` is 1 where ranks cost each other nothing; its range is of runs of 50 steps.

    `waiting` is the share of a step that the slowest rank keeps the others waiting, `exposed` that of the exchange.
    """

    ranks: int
    samples_per_s: float
    efficiency: float
    efficiency_range: tuple[float, float]
    waiting: float
    exposed: float


def predict(load: Load, cluster: Cluster, ranks: int, seed: int = 0) -> Prediction:
    """Return what a simulation of ranks on a cluster gives, the same for the same seed."""
    noise = np.random.default_rng(seed)
    places, took = np.asarray(QUANTILES) / 100, np.zeros((_RUNS * _STEPS, ranks))
    for _ in range(load.portions):
        took += np.interp(noise.random(took.shape), places, load.step_s)
    slowest = took.max(1)
    buckets = max(1, math.ceil(load.size_bytes / load.bucket_bytes))
    each_s = cluster.exchange_s(load.size_bytes / buckets, ranks)
    last_backward = BACKWARD_SHARE / load.portions
    through = np.zeros(len(slowest))
    for number in range(1, buckets + 1):
        ready = slowest * (1 - last_backward * (1 - number / buckets))
        through = np.maximum(through, ready) + each_s * (ranks > 1)
    steps = np.maximum(slowest, through)
    alone_s, mean_s = float(took.mean()), float(steps.mean())
    runs = np.sort(took.mean(1).reshape(_RUNS, _STEPS).mean(1) / steps.reshape(_RUNS, _STEPS).mean(1))
    return Prediction(
        ranks,
        ranks * load.portions * load.samples / mean_s,
        alone_s / mean_s,
        (float(runs[0]), float(runs[-1])),
        (float(slowest.mean()) - alone_s) / mean_s,
        float((steps - slowest).mean() / mean_s),
    )


def fit_links(measured: Iterable[tuple[int, float, float]]) -> Links:
    """Return the links of a ring that (ranks, bytes, seconds) fit best, by least squares of relative errors."""
    rows = np.array([(2 * (n - 1) / s, 2 * (n - 1) * size / n / s) for n, size, s in measured])
    slopes = np.linalg.lstsq(rows, np.ones(len(rows)), rcond=None)[0]
    # A latency or a bandwidth below nothing: the other one explains what was measured.
    for which in (0, 1):
        if slopes[which] <= 0:
            other = rows[:, 1 - which]
            slopes[which], slopes[1 - which] = 0.0, other.sum() / (other @ other)
    return Links(float(slopes[0]), float(1 / slopes[1]) if slopes[1] else math.inf)


def most_ranks(predictions: Sequence[Prediction], least: float) -> int:
    """Return the largest number of ranks up to which every prediction is at least so efficient, 0 if none is."""
    good = 0
    for one in predictions:
        if one.efficiency < least:
            break
        good = one.ranks
    return good
