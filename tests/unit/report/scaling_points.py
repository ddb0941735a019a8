"""Points of a scaling curve as `hpc-sr benchmark` writes them."""

from __future__ import annotations

SETTING = {
    "recipe": "s2x",
    "task": "s2x",
    "family": "s2x",
    "patch_px": 32,
    "batch_size_per_rank": 128,
    "accumulation_steps": 1,
    "global_batch_size": None,
    "precision": "bf16",
}


def content(backend: str, ranks: int, speed: float, **changes: object) -> dict:
    return {
        "bench": "scaling",
        "schema": 1,
        "setting": SETTING | changes,
        "backend": backend,
        "world_size": ranks,
        "nodes": 1,
        "global_batch_size": 128 * ranks,
        "parameters": 1821031,
        "samples_per_s": speed,
        "samples_per_s_min_max": [0.9 * speed, 1.1 * speed],
        "rounds": 7,
        "steps_per_round": 30,
        "data": "noise",
        "shares": {"compute": 0.9, "communication": 0.085, "data_wait": 0.015},
        "fraction_of_peak": None,
        "peak_host_bytes": 2**31,
        "peak_device_bytes": None,
        "device": "cpu",
        "environment": {"processor": "some", "cores": 2, "packages": {"torch": "2.13.0"}, "git_commit": "0123abc"},
    }
