"""A publication's system from pictures to a score: an autoencoder, crops against a critic, killed on two ranks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from parallel.launchers import PATIENCE_S, kill_all, launch_command, ranks_environment, require_launcher
from support import run_cli

from data_prep.synthetic import landscape, write_product

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
HPC_SR = Path(sys.executable).with_name("hpc-sr")
STEPS, BATCH, CONTENT_STEPS = 60, 2, 6
RECIPE = """
name: enlighten
task: sisr_x4
store: {folder}/store
images: {{hr: ["{folder}/*.png"], degradation: bicubic, patch_px: 112, stride_px: 28, split: {{validation: [two]}}}}
model: {{family: enlighten, width: 8, growth: 4, blocks: 1}}
objective:
  method: enlighten
  content: mse
  content_samples: {content_samples}
  perceptual: {{autoencoder: "{folder}/runs/seen", layers: [relu1_2, relu2_2], weight: 0.006}}
  loss: wgan_gp
  critic: {{family: vgg, width: 16, stages: 3, hidden: 8, norm: none}}
optimizer: {{base_lr: 1e-3, eps: 1e-3}}
schedule: {{total_samples: {samples}, lr_scaling: none}}
train: {{global_batch_size: {batch}, batch_size_per_rank: {batch}, precision: fp32, runs: "{folder}/runs",
        log_every_steps: 1, evaluate_every_steps: 30, checkpoint_every_steps: 3}}
"""
SEEN = """
name: seen
task: autoencode
store: {folder}/store
model: {{family: autoencoder, width: 4}}
objective: {{content: mse, best_by: newest}}
schedule: {{total_samples: 8, lr_scaling: none}}
train: {{batch_size_per_rank: 2, precision: fp32, runs: "{folder}/runs"}}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, their store, an autoencoder of them, and the recipe of the system."""
    folder = tmp_path_factory.mktemp("system")
    noise = np.random.default_rng(0)
    for name in ("one", "two"):
        fields = np.kron(noise.integers(20, 235, (3, 21, 21)), np.ones((8, 8), int))
        picture = np.clip(fields + noise.normal(0, 5, fields.shape), 0, 255).astype(np.uint8)
        with rasterio.open(
            folder / f"{name}.png", "w", driver="PNG", count=3, height=168, width=168, dtype="uint8"
        ) as image:
            image.write(picture)
    told = {"folder": folder, "samples": STEPS * BATCH, "batch": BATCH, "content_samples": CONTENT_STEPS * BATCH}
    for name, text in (("enlighten", RECIPE), ("seen", SEEN)):
        (folder / f"{name}.yaml").write_text(text.format(**told))
    assert not run_cli("prepare", folder / "enlighten.yaml")
    assert not run_cli("train", folder / "seen.yaml")
    return folder


def losses(run: Path) -> dict[int, dict]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line for line in lines if line["kind"] == "train"}


def test_killed_on_two_ranks_it_learns_what_one_rank_learns(world: Path) -> None:
    require_launcher("torchrun")
    command = launch_command("torchrun", HPC_SR, ["train", str(world / "enlighten.yaml")])
    diary, mark = world / "runs" / "enlighten" / "metrics.jsonl", "SYSTEM=killed"
    process = subprocess.Popen(
        command,
        env=ranks_environment(SYSTEM="killed"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and not (diary.exists() and len(diary.read_text().splitlines()) > CONTENT_STEPS + 2):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    kill_all(mark)
    process.wait()
    assert CONTENT_STEPS < len(losses(world / "runs" / "enlighten")) < STEPS
    again = subprocess.run(command, env=ranks_environment(), capture_output=True, text=True, timeout=PATIENCE_S)
    assert again.returncode == 0 and "resumed from" in again.stderr + again.stdout, again.stderr[-3000:]
    assert not run_cli("train", world / "enlighten.yaml", "name=alone")
    ours, alone = (losses(world / "runs" / name) for name in ("enlighten", "alone"))
    assert ours.keys() == alone.keys() == set(range(1, STEPS + 1))
    for step, line in alone.items():
        assert ours[step]["loss"] == pytest.approx(line["loss"], rel=5e-3, abs=1e-4), step
        assert ("adversarial" in line) == ("perceptual" in line) == (step > CONTENT_STEPS)
    assert alone[STEPS]["target"] < alone[1]["target"]


def test_its_run_makes_pictures_products_and_a_table(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = world / "runs" / "enlighten"
    if not run.exists():
        assert not run_cli("train", world / "enlighten.yaml")
    assert not run_cli("infer", run, "--image", world / "one.png", "--out", world / "finer.png")
    with rasterio.open(world / "finer.png") as image:
        assert (image.count, image.height, image.width) == (3, 672, 672)
    product = write_product(world / "products", landscape(120, 3))
    assert not run_cli("infer", run, product, "--out", world / "finer.tif")
    with rasterio.open(world / "finer.tif") as image:
        assert (image.count, image.res, image.crs.is_projected) == (3, (2.5, 2.5), True)
    capsys.readouterr()
    command = ("evaluate", "--table", "sisr", run, "--image", world / "one.png", world / "two.png")
    assert not run_cli(*command, "--out", world / "table")
    text = (world / "table" / "sisr.md").read_text()
    assert "bicubic" in text and "enlighten" in text
