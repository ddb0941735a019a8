"""A made-up run directory, evaluations and picture panels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

BANDS = ["B05", "B06", "B07", "B8A", "B11", "B12"]


def scores(rmse: float, bands: list[str]) -> dict:
    total = {"rmse": rmse, "rmse_band_mean": rmse - 1, "sre": 60 - rmse / 10, "sam": rmse / 100, "ergas": None}
    total |= {"ergas_ratio_free": None, "psnr": 40.0, "bpsnr": 40.5, "ssim": 0.9, "uiq": 0.8}
    per_band = {b: {"rmse": rmse + i, "sre": 20.0 + i, "bias": -rmse / 7} for i, b in enumerate(bands)}
    return {"total": total, "bands": per_band, "pixels": 4096}


def make_evaluation(protocol="synthesis", family="s2x", bands=BANDS, scenes=("one", "two"), ours=31.25) -> dict:
    methods = {"bicubic": scores(125.0, bands), family: scores(ours, bands)}
    return {
        "schema": 1, "protocol": protocol, "task": "s2x", "scale": 2, "degradation": "wald", "level": "L1C",
        "bands": bands, "constants": {"max": 10000, "ssim_k1": 0.01},
        "model": {"family": family, "parameters": 1821031, "step": 9000},
        "scenes": [
            {"scene": name, "provenance": {"product": f"S2A_{name}.SAFE"}, "size_px": [300, 302], "methods": methods,
             "seconds": 1.0} for name in scenes
        ],
        "mean": methods, "ratio_to_bicubic": {"rmse": ours / 125.0, "rmse_band_mean": 0.24},
    }  # fmt: skip


def make_panels(size_px=24, scale=2, bands=BANDS, seed=0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.05, 0.4, (len(bands), size_px, size_px)).astype(np.float32)
    return {
        "bands": np.array(bands), "guide_bands": np.array(["B02", "B03", "B04", "B08"]), "truth": truth,
        "guide": rng.uniform(0.05, 0.4, (4, size_px, size_px)).astype(np.float32),
        "input": truth[:, ::scale, ::scale], "bicubic": truth + 0.02, "sr": truth + 0.005,
    }  # fmt: skip


@pytest.fixture
def evaluation() -> Callable[..., dict]:
    return make_evaluation


@pytest.fixture
def panels() -> Callable[..., dict[str, np.ndarray]]:
    return make_panels


@pytest.fixture
def run_dir(tmp_path) -> Path:
    """A run that was trained and evaluated on two scenes, one of them with panels."""
    folder = tmp_path / "first_run"
    (folder / "evaluate").mkdir(parents=True)
    (folder / "recipe.yaml").write_text("task: s2x\nnote: '<b>bold</b>'\n", encoding="utf-8")
    environment = {"git_commit": "0123abcd4567", "packages": {"torch": "2.13.0", "horovod": None}, "recipe": {"x": 1}}
    (folder / "environment.json").write_text(json.dumps(environment | {"hosts": ["n1", "n1", "n2"]}))
    train = [
        {"kind": "train", "step": step, "samples": 64 * step, "learning_rate": 1e-4, "loss": 1.0 / step,
         "samples_per_s": 1234.0, "data_wait_share": 0.125, "seconds": 60.0, "gradient_norm": 1.0}
        for step in range(100, 1100, 100)
    ]  # fmt: skip
    validation = [
        {"kind": "validation", "step": step, "samples": 64 * step, "rmse": 2e4 / step, "rmse_bicubic": 125.0}
        for step in (500, 1000)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in train + validation))
    (folder / "evaluate" / "synthesis.json").write_text(json.dumps(make_evaluation()))
    np.savez(folder / "evaluate" / "panels_synthesis_one.npz", **make_panels())
    return folder
