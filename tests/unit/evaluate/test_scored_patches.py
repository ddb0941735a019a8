"""Patches of a store in other units than reflectance."""

from __future__ import annotations

import numpy as np
import pytest

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.evaluate.protocols.patches import baseline_on_patches, score_patches
from hpc_sr.tasks import Units, task_by_name


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
