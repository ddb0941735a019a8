"""Two things timed in turn, A B A B ..., so that a machine whose speed drifts treats both alike."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from hpc_sr.environment import git_commit, version


def time_in_turn(first: Callable[[], Any], second: Callable[[], Any], rounds: int) -> dict[str, Any]:
    """Return the median seconds of both after a warm-up each, and the median over rounds of second / first."""
    seconds: list[list[float]] = [[], []]
    for turn in range(rounds + 1):
        for which, work in enumerate((first, second)):
            began = time.perf_counter()
            work()
            if turn:
                seconds[which].append(time.perf_counter() - began)
    ratios = [b / a for a, b in zip(*seconds, strict=True)]
    return {
        "first_s": statistics.median(seconds[0]),
        "second_s": statistics.median(seconds[1]),
        "second_over_first": statistics.median(ratios),
        "rounds": rounds,
        "second_over_first_min_max": [min(ratios), max(ratios)],
    }


def machine() -> dict[str, Any]:
    """Return the hardware and versions that numbers are of."""
    return {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": version("torch"),
        "git_commit": git_commit(),
    }


def print_result(name: str, **values: Any) -> None:
    """Print one JSON: the numbers, and the hardware and versions that they are of."""
    print(json.dumps({"bench": name, **values, "machine": machine()}, indent=1))
