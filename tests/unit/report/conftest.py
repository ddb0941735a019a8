"""A made-up run directory, evaluations and picture panels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

#: What a folder may be called, and what Markdown, LaTeX and HTML take for something else.
ODD_NAME = r"50%_of|{all} & \more<b> #1 ~^$"
BANDS = ["B05", "B06", "B07", "B8A", "B11", "B12"]


def scores(rmse: float, bands: list[str]) -> dict:
    total = {"rmse": rmse, "rmse_band_mean": rmse - 1, "sre": 60 - rmse / 10, "sam": rmse / 100, "ergas": None}
    total |= {"ergas_ratio_free": None, "psnr": 40.0, "bpsnr": 40.5, "ssim": 0.9, "uiq": 0.8}
    per_band = {b: {"rmse": rmse + i, "sre": 20.0 + i, "bias": -rmse / 7} for i, b in enumerate(bands)}
    return {"total": total, "bands": per_band, "pixels": 4096}


def class_scores(rmse: float, bands: list[str]) -> dict:
    """A bright and a dark half of the land, on half of the pixels each."""
    halves = {"vegetation": 0.5, "water": 1.5}
    return {name: scores(rmse * factor, bands) | {"pixels": 2048} for name, factor in halves.items()}


def spectra_of(rmse: float, bands: list[str]) -> dict:
    """Power that falls with frequency; the worse the method, the less of it comes back."""
    frequency = [(i + 0.5) / 64 for i in range(32)]
    share = [1 / (1 + rmse / 50 * 2 * f) for f in frequency]
    power = [1e4 / (1 + 50 * f) for f in frequency]
    curve = {
        "frequency": frequency,
        "power_reference": power,
        "transfer": share,
        "coherence": share,
        "power_estimate": [p * s * s for p, s in zip(power, share, strict=True)],
    }
    return {band: curve for band in bands}


def mean_classes(classes: dict, scenes: int) -> dict:
    return {name: {"total": scored["total"], "scenes": scenes} for name, scored in classes.items()}


def make_evaluation(
    protocol="synthesis",
    family="s2x",
    bands=BANDS,
    scenes=("one", "two"),
    ours=31.25,
    others=("bicubic",),
    task="s2x",
    level="L1C",
    classes=None,
) -> dict:
    """An evaluation of schema 2. `family` None is one without a network; the further on in the list of methods, the
    lower the RMSE; land cover only for L2A unless told otherwise."""
    errors = {name: 125.0 - 15.0 * i for i, name in enumerate(others)} | ({family: ours} if family else {})
    compared = family or ("bicubic" if "bicubic" in errors else next(iter(errors)))
    classes = level == "L2A" if classes is None else classes
    methods = {
        name: scores(rmse, bands) | {"classes": class_scores(rmse, bands) if classes else {}}
        for name, rmse in errors.items()
    }
    several = len(scenes) > 1
    return {
        "schema": 2,
        "protocol": protocol,
        "task": task,
        "scale": 6 if task == "s6x" else 2,
        "degradation": "wald",
        "level": level,
        "bands": bands,
        "constants": {"max": 10000, "ssim_k1": 0.01},
        "model": {"family": family, "parameters": 1821031, "step": 9000} if family else None,
        "precision": "bf16" if family else None,
        "compared": compared,
        "scenes": [
            {
                "scene": name,
                "provenance": {"product": f"S2A_{name}.SAFE"},
                "size_px": [300, 302],
                "methods": methods,
                "seconds": dict.fromkeys(methods, 1.0),
                "spectra": {method: spectra_of(rmse, bands) for method, rmse in errors.items()},
            }
            for name in scenes
        ],
        "mean": {
            name: {"total": m["total"], "bands": m["bands"], "classes": mean_classes(m["classes"], len(scenes))}
            for name, m in methods.items()
        },
        "intervals": {
            name: {
                key: [value - 1.5, value + 2.5] if several and value is not None else None
                for key, value in m["total"].items()
            }
            for name, m in methods.items()
        },
        "paired": {
            name: {
                key: paired(methods[compared]["total"][key], value, len(scenes)) for key, value in m["total"].items()
            }
            for name, m in methods.items()
            if name != compared
        },
        "ratio_to_bicubic": {
            name: {"rmse": rmse / errors["bicubic"], "rmse_band_mean": (rmse - 1) / (errors["bicubic"] - 1)}
            for name, rmse in errors.items()
        }
        if "bicubic" in errors
        else {},
    }


def paired(ours: float | None, other: float | None, scenes: int) -> dict | None:
    if ours is None or other is None:
        return None
    difference = ours - other
    interval = [difference - 2.0, difference + 1.0] if scenes > 1 else None
    return {"difference": difference, "interval": interval, "better": scenes if difference < 0 else 0, "scenes": scenes}


def make_panels(size_px=24, scale=2, bands=BANDS, seed=0, methods=("bicubic", "s2x")) -> dict[str, np.ndarray]:
    """Noise, and methods that are too bright everywhere: the first by 0.02, the last by 0.005."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.05, 0.4, (len(bands), size_px, size_px)).astype(np.float32)
    too_bright = np.linspace(0.02, 0.005, len(methods), dtype=np.float32)
    wavelengths = {"B01": 443, "B05": 705, "B06": 740, "B07": 783, "B8A": 865, "B09": 945, "B11": 1610, "B12": 2190}
    return {
        "bands": np.array(bands),
        "band_nm": np.array([wavelengths[band] for band in bands], float),
        "truth": truth,
        "guide": rng.uniform(0.05, 0.4, (4, size_px, size_px)).astype(np.float32),
        "guide_bands": np.array(["B02", "B03", "B04", "B08"]),
        "guide_nm": np.array([490.0, 560.0, 665.0, 842.0]),
        "input": truth[:, ::scale, ::scale],
        "methods": np.array(methods),
        **{f"method_{index}": truth + step for index, step in enumerate(too_bright)},
    }


@pytest.fixture
def evaluation() -> Callable[..., dict]:
    return make_evaluation


def full(evaluation: dict) -> dict:
    """Return the evaluation with the scores that the thesis's columns need."""
    for method in evaluation["mean"].values():
        method["total"] |= {"psnr_image_max": 51.25, "ergas_ratio_free": method["total"]["rmse"] / 10, "uiq": 0.875}
    return evaluation


@pytest.fixture
def full_evaluation() -> Callable[..., dict]:
    return lambda **options: full(make_evaluation(**options))


@pytest.fixture
def thesis_runs(full_evaluation) -> list[tuple[str, dict]]:
    """Several runs of which two fill one table, one with an odd name, and one that belongs in no table."""
    return [
        ("first", full_evaluation(others=("bicubic", "guided", "atprk"))),
        ("second", full_evaluation(family="dsen2", ours=40.0)),
        ("first", full_evaluation(protocol="consistency", ours=4.5)),
        ("coarse", full_evaluation(task="s6x", family="s6x", bands=["B01", "B09"])),
        (ODD_NAME, full_evaluation(level="L2A", ours=44.0)),
        ("foreign", full_evaluation(family=None, others=("theirs",), task=None, level="", protocol="truth")),
    ]


@pytest.fixture
def panels() -> Callable[..., dict[str, np.ndarray]]:
    return make_panels


@pytest.fixture
def evaluated(tmp_path) -> Callable[..., Path]:
    """Return a folder that holds only evaluate/, with panels of the first scene."""

    def make(name: str, panels: dict[str, np.ndarray] | None = None, target: str = "", **given) -> Path:
        folder, made = tmp_path / name, make_evaluation(**given)
        label = f"{made['protocol']}_{target}" if target else made["protocol"]
        (folder / "evaluate").mkdir(parents=True, exist_ok=True)
        (folder / "evaluate" / f"{label}.json").write_text(json.dumps(made))
        shown = make_panels(methods=tuple(made["mean"]), bands=made["bands"]) if panels is None else panels
        np.savez(folder / "evaluate" / f"panels_{label}_{made['scenes'][0]['scene']}.npz", **shown)
        return folder

    return make


@pytest.fixture
def joint(evaluated) -> Callable[..., Path]:
    """Return a folder with the evaluations of both targets of the joint task under a protocol."""

    def make(name: str, **given) -> Path:
        given = {"task": "s26x", "family": "s26x"} | given
        evaluated(name, target="target20", **given)
        return evaluated(name, target="target60", bands=["B01", "B09"], **given | {"ours": 47.0})

    return make


@pytest.fixture
def run_dir(tmp_path) -> Path:
    """A run that was trained and evaluated on two scenes, one of them with panels."""
    folder = tmp_path / "first_run"
    (folder / "evaluate").mkdir(parents=True)
    (folder / "recipe.yaml").write_text("task: s2x\nnote: '<b>bold</b>'\n", encoding="utf-8")
    environment = {"git_commit": "0123abcd4567", "packages": {"torch": "2.13.0", "horovod": None}, "recipe": {"x": 1}}
    (folder / "environment.json").write_text(json.dumps(environment | {"hosts": ["n1", "n1", "n2"]}))
    train = [
        {
            "kind": "train",
            "step": step,
            "samples": 64 * step,
            "learning_rate": 1e-4,
            "loss": 1.0 / step,
            "samples_per_s": 1234.0,
            "data_wait_share": 0.125,
            "seconds": 60.0,
            "gradient_norm": 1.0,
        }
        for step in range(100, 1100, 100)
    ]
    validation = [
        {"kind": "validation", "step": step, "samples": 64 * step, "rmse": 2e4 / step, "rmse_bicubic": 125.0}
        for step in (500, 1000)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in train + validation))
    (folder / "evaluate" / "synthesis.json").write_text(json.dumps(make_evaluation()))
    np.savez(folder / "evaluate" / "panels_synthesis_one.npz", **make_panels())
    return folder
