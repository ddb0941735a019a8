"""A publication's system from pictures to a score: trained against its critics, killed on two ranks, used and scored.

HPC_SR_SYSTEMS=degan,msfm,rrsgan,eegan pytest tests/integration/test_systems.py does it with these.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from parallel.launchers import PATIENCE_S, kill_all, launch_command, ranks_environment, require_launcher
from support import run_cli

from data_prep.synthetic import landscape, write_product
from hpc_sr.logs import read_json_lines

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
HPC_SR = Path(sys.executable).with_name("hpc-sr")
STEPS, BATCH, CONTENT_STEPS = 60, 2, 6
#: Soon after it was killed, a run must be close to one that was not.
_SOON = 24
#: Seen through an autoencoder of the same pictures, whose run lies beside.
PERCEPTUAL = {"layers": ["relu1_2", "relu2_2"], "weight": 0.006}
VGG = {"family": "vgg", "width": 16, "stages": 3, "hidden": 8, "norm": "none"}
#: Network and objective; a system with a reference takes pictures in pairs.
SYSTEMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "enlighten": (
        {"family": "enlighten", "width": 8, "growth": 4, "blocks": 1},
        {"method": "enlighten", "content": "mse", "perceptual": PERCEPTUAL, "loss": "wgan_gp", "critic": VGG},
    ),
    # From grey, its critic at the published 0.1 outweighs pixels that have learnt nothing yet.
    "degan": (
        {"family": "degan", "width": 16, "blocks": 1, "unet_width": 16, "dropout": 0.0, "base": "bicubic"},
        {
            "content": "mse",
            "perceptual": {**PERCEPTUAL, "distance": "charbonnier"},
            "loss": "vanilla",
            "critic": {**VGG, "norm": "batch"},
        },
    ),
    "msfm": (
        {"family": "msfm", "width": 8},
        {"content": "mse", "perceptual": PERCEPTUAL, "loss": "vanilla", "critic": {"family": "msfm"}},
    ),
    "eegan": (
        {"family": "eegan", "width": 8, "blocks": 1, "edge_blocks": 1},
        {
            "content": "charbonnier",
            "seen": "base",
            "perceptual": {**PERCEPTUAL, "distance": "charbonnier"},
            "loss": "lsgan_charbonnier",
            "critic": {"family": "eegan", "width": 16, "hidden": 8},
        },
    ),
    "rrsgan": (
        {"family": "rrsgan", "width": 8, "blocks": 1, "gradient_width": 4, "groups": 2},
        {
            "gradients": 1.0,
            "perceptual": {**PERCEPTUAL, "distance": "l1"},
            "loss": "vanilla",
            "critic": {**VGG, "bias": "first"},
            "gradient_critic": {**VGG, "bias": "first"},
        },
    ),
}
SEEN = {
    "name": "seen",
    "task": "autoencode",
    "model": {"family": "autoencoder", "width": 4},
    "objective": {"content": "mse", "best_by": "newest"},
    "schedule": {"total_samples": 8, "lr_scaling": "none"},
    "train": {"batch_size_per_rank": 2, "precision": "fp32"},
}


def recipe_of(system: str, folder: Path) -> dict[str, Any]:
    model, objective = SYSTEMS[system]
    pictures = {"ref": [f"{folder}/ref/*.png"]} if system == "rrsgan" else {}
    split = {"validation": ["two"]}
    objective = {"method": "adversarial", "content_samples": CONTENT_STEPS * BATCH, **objective}
    return {
        "name": system,
        "task": "refsr_x4" if system == "rrsgan" else "sisr_x4",
        "store": f"{folder}/store",
        "images": {"hr": [f"{folder}/*.png"], **pictures, "patch_px": 112, "stride_px": 28, "split": split},
        "model": model,
        "objective": objective
        | {"perceptual": {"autoencoder": f"{folder}/runs/seen", **objective["perceptual"]}}
        | ({} if system == "enlighten" else {"critic_optimizer": {"eps": 1e-3}}),
        "optimizer": {"base_lr": 1e-3, "eps": 1e-3},
        "schedule": {"total_samples": STEPS * BATCH, "lr_scaling": "none"},
        "train": {
            "global_batch_size": BATCH,
            "batch_size_per_rank": BATCH,
            "precision": "fp32",
            "runs": f"{folder}/runs",
            "log_every_steps": 1,
            "evaluate_every_steps": 30,
            "checkpoint_every_steps": 3,
        },
    }


@pytest.fixture(scope="module", params=os.environ.get("HPC_SR_SYSTEMS", "enlighten").split(","))
def system(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def world(system: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, their store, an autoencoder of them, and the recipe of the system."""
    folder = tmp_path_factory.mktemp("system")
    (folder / "ref").mkdir()
    noise = np.random.default_rng(0)
    for name in ("one", "two"):
        fields = np.kron(noise.integers(20, 235, (3, 21, 21)), np.ones((8, 8), int))
        for place in (folder, folder / "ref"):
            picture = np.clip(fields + noise.normal(0, 5, fields.shape), 0, 255).astype(np.uint8)
            with rasterio.open(
                place / f"{name}.png", "w", driver="PNG", count=3, height=168, width=168, dtype="uint8"
            ) as image:
                image.write(picture)
    recipe = recipe_of(system, folder)
    seen = SEEN | {"store": recipe["store"], "train": {**SEEN["train"], "runs": recipe["train"]["runs"]}}
    (folder / "system.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "seen.yaml").write_text(yaml.safe_dump(seen))
    assert not run_cli("prepare", folder / "system.yaml")
    assert not run_cli("train", folder / "seen.yaml")
    return folder


def losses(run: Path) -> dict[int, dict]:
    return {line["step"]: line for line in read_json_lines(run / "metrics.jsonl") if line["kind"] == "train"}


def test_killed_on_two_ranks_it_learns_what_one_rank_learns(system: str, world: Path) -> None:
    require_launcher("torchrun")
    command = launch_command("torchrun", HPC_SR, ["train", str(world / "system.yaml")])
    run, mark = world / "runs" / system, "SYSTEM=killed"
    process = subprocess.Popen(
        command,
        env=ranks_environment(SYSTEM="killed"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and len(losses(run)) < CONTENT_STEPS + 3:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    kill_all(mark)
    process.wait()
    assert CONTENT_STEPS < len(losses(run)) < STEPS
    again = subprocess.run(command, env=ranks_environment(), capture_output=True, text=True, timeout=PATIENCE_S)
    assert again.returncode == 0 and "resumed from" in again.stderr + again.stdout, again.stderr[-3000:]
    assert not run_cli("train", world / "system.yaml", "name=alone")
    ours, alone = (losses(world / "runs" / name) for name in (system, "alone"))
    assert ours.keys() == alone.keys() == set(range(1, STEPS + 1))
    for step, line in alone.items():
        # Sums in another order: against a critic with BatchNorm a rounding is a twentieth of the loss 50 steps later.
        if step <= _SOON:
            assert ours[step]["loss"] == pytest.approx(line["loss"], rel=5e-3, abs=1e-4), step
        assert ("adversarial" in line) == ("perceptual" in line) == (step > CONTENT_STEPS)
    assert alone[STEPS]["target"] < alone[1]["loss"]


def test_its_run_makes_pictures_products_and_a_table(
    system: str, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, pair = world / "runs" / system, system == "rrsgan"
    if not run.exists():
        assert not run_cli("train", world / "system.yaml")
    reference = ("--reference", world / "ref" / "one.png") if pair else ()
    given = world / "store_one.png" if pair else world / "one.png"
    if pair:  # a picture four times coarser than its reference
        with rasterio.open(world / "one.png") as image:
            coarse = image.read().reshape(3, 42, 4, 42, 4).mean((2, 4)).astype(np.uint8)
        with rasterio.open(given, "w", driver="PNG", count=3, height=42, width=42, dtype="uint8") as image:
            image.write(coarse)
    assert not run_cli("infer", run, "--image", given, *reference, "--out", world / "finer.png")
    with rasterio.open(world / "finer.png") as image:
        assert (image.count, image.height, image.width) == (3, 168 if pair else 672, 168 if pair else 672)
    if not pair:  # its reference of a product would be another product
        product = write_product(world / "products", landscape(120, 3))
        assert not run_cli("infer", run, product, "--out", world / "finer.tif")
        with rasterio.open(world / "finer.tif") as image:
            assert (image.count, image.res, image.crs.is_projected) == (3, (2.5, 2.5), True)
    capsys.readouterr()
    scored = ("--store", world / "store") if pair else ("--image", world / "one.png", world / "two.png")
    assert not run_cli("evaluate", "--table", "sisr", run, *scored, "--out", world / "table")
    text = (world / "table" / "sisr.md").read_text()
    assert "bicubic" in text and system in text
