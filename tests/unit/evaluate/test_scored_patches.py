"""Patches of a store in other units than reflectance, and with several targets."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from made_networks import trained
from made_store import made_store

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.data.dataset import Patches
from hpc_sr.evaluate.protocols.patches import baseline_on_patches, evaluate_patches, network_on_patches, score_patches
from hpc_sr.shards.reader import Store
from hpc_sr.tasks import S26X, Units, task_by_name


class Drawn:
    """Twenty pictures of 8 bits, as a store holds them."""

    def __init__(self) -> None:
        rng = np.random.default_rng(4)
        self.layers = {
            "lr": rng.integers(0, 256, (20, 3, 8, 8)).astype(np.int16),
            "target": rng.integers(0, 256, (20, 3, 16, 16)).astype(np.int16),
        }

    def __len__(self) -> int:
        return 20

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {name: values[indices] for name, values in self.layers.items()}


@pytest.mark.parametrize(("units", "peak"), [("8 bit", 255), ("16 bit", 65535), ("reflectance x 10000", 10_000)])
def test_decibels_are_those_of_the_units(units: str, peak: float) -> None:
    task, patches = task_by_name("sisr_x2"), Drawn()
    methods = {"nearest": baseline_on_patches("nearest", task, "", "")}
    scores = score_patches(patches, methods, task, SerialComm(), Units.of(units).peak)["methods"]["nearest"]["total"]
    repeated = patches.layers["lr"].repeat(2, -1).repeat(2, -2).astype(float)
    mse = ((repeated - patches.layers["target"]) ** 2).mean()
    assert scores["psnr"] == pytest.approx(10 * np.log10(peak**2 / mse))


def test_the_bands_of_all_targets_are_scored_each_against_its_own(tmp_path: Path) -> None:
    store = Store(made_store(tmp_path / "store", S26X, 24, rows=4, held_out=6))
    patches = Patches.of(store.split("validation"), S26X, 24)
    layers = {name: torch.from_numpy(values).float() for name, values in patches.take(np.arange(6)).items()}
    generator = trained(S26X, 24).generator
    names = ("nearest", "bicubic", "guided", "atprk")
    methods = {name: baseline_on_patches(name, S26X, "wald", "S2A") for name in names}
    methods["network"] = network_on_patches(generator, "fp32")
    scores = score_patches(patches, methods, S26X, SerialComm())["methods"]
    for target in S26X.targets:
        # A task of that target alone, which every method does without knowing of the other.
        alone = {name: baseline_on_patches(name, S26X.only(target), "wald", "S2A") for name in names}
        own = score_patches(patches, alone, S26X.only(target), SerialComm())["methods"]
        for name, band in itertools.product(names, target.bands):
            found, expected = (dict(one[name]["bands"][band]) for one in (scores, own))
            del found["psnr_image_max"], expected["psnr_image_max"]  # the brightest pixel is of all bands
            assert found == pytest.approx(expected, rel=1e-6), (name, band)
    with torch.no_grad():
        estimates = generator.estimate(*(layers[layer.name] for layer in S26X.inputs))
    missed = [estimate.double() - layers[target.name] for target, estimate in zip(S26X.targets, estimates, strict=True)]
    of_bands = [error[:, k].square().mean().sqrt().item() for error in missed for k in range(error.shape[1])]
    assert [scores["network"]["bands"][band]["rmse"] for band in S26X.bands] == pytest.approx(of_bands, rel=1e-5)
    total = torch.cat(missed, 1).square().mean().sqrt().item()
    validated = evaluate_patches(generator, patches, SerialComm(), "fp32")
    assert validated["rmse"] == pytest.approx(total, rel=1e-5)
    assert validated["rmse_bicubic"] == pytest.approx(scores["bicubic"]["total"]["rmse"], rel=1e-9)
