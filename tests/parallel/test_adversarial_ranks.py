"""Adversarial training on two ranks: what one rank computes, for every loss; and a run that is killed goes on.

HPC_SR_RANKS=3 pytest tests/parallel/test_adversarial_ranks.py compares the losses on three.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from adversarial_losses import BATCH, CASES, RANKS, STEPS, recipe_of
from launchers import (
    kill_all,
    launch_command,
    plain_environment,
    ranks_environment,
    require_horovod,
    require_launcher,
    run_command,
    run_ranks,
)
from made_store import made_store

from hpc_sr.losses.adversarial import ADVERSARIAL_LOSSES
from hpc_sr.recipe import as_yaml
from hpc_sr.tasks import S2X

SCRIPT = Path(__file__).with_name("adversarial_losses.py")
HPC_SR = Path(sys.executable).with_name("hpc-sr")
NUMBERS = ("loss", "target", "adversarial", "gradient_norm", "critic_loss", "critic_score_real", "critic_score_fake")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_store(tmp_path_factory.mktemp("adversarial") / "store", S2X, 16, rows=32, held_out=4)


@pytest.fixture(scope="module")
def one_rank(store: Path) -> dict:
    folder = store.parent / "one"
    folder.mkdir()
    command = [sys.executable, str(SCRIPT), str(folder), str(store)]
    done = run_command(command, plain_environment(), timeout_s=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((folder / "losses.json").read_text())


@pytest.mark.parametrize("launcher", ["mpirun", "torchrun"])
def test_ranks_compute_what_one_does_by_every_loss(tmp_path, store, one_rank: dict, launcher: str) -> None:
    require_launcher(launcher)
    if launcher == "mpirun":
        require_horovod()
    done = run_ranks(launcher, SCRIPT, [str(tmp_path), str(store)], ranks=RANKS, timeout_s=300)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads((tmp_path / "losses.json").read_text())
    assert set(found) == set(one_rank) == set(CASES) == set(ADVERSARIAL_LOSSES)
    for loss, lines in one_rank.items():
        assert len(lines) == len(found[loss]) == STEPS
        for line, other in zip(lines, found[loss], strict=True):
            names = [*NUMBERS, *(["critic_penalty"] if "critic_penalty" in line else [])]
            for name in names:
                assert other[name] == pytest.approx(line[name], rel=1e-5, abs=1e-6), (loss, line["step"], name)


def state(run: Path, step: int) -> dict:
    return torch.load(run / "checkpoints" / f"step_{step:08d}" / "training.pt", weights_only=True)["parts"]


def test_a_run_that_is_killed_goes_on_to_the_bit_with_both_networks(tmp_path: Path, store: Path) -> None:
    require_launcher("torchrun")
    steps, mark = 60, "ADVERSARIAL=killed"
    files = {}
    for name in ("unbroken", "killed"):
        often = {"checkpoint_every_steps": 5, "ema_samples": 64}
        recipe = recipe_of("wgan_gp", tmp_path / name, store, steps * BATCH, 2, **often)
        files[name] = tmp_path / f"{name}.yaml"
        files[name].write_text(as_yaml(recipe))
    runs = {name: tmp_path / name / "wgan_gp" for name in files}
    done = run_ranks("torchrun", HPC_SR, ["train", str(files["unbroken"])], timeout_s=300)
    assert done.returncode == 0, done.stderr[-4000:]

    command = launch_command("torchrun", HPC_SR, ["train", str(files["killed"])])
    environment = ranks_environment(**dict([mark.split("=")]))
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (runs["killed"] / "checkpoints" / "step_00000010").is_dir():
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.01)
    kill_all(mark)
    process.wait()
    assert not (runs["killed"] / "checkpoints" / f"step_{steps:08d}").is_dir(), "was not killed in time"
    done = run_ranks("torchrun", HPC_SR, ["train", str(files["killed"])], timeout_s=300)
    assert done.returncode == 0 and "resumed from" in done.stderr, done.stderr[-4000:]
    expected, found = (state(runs[name], steps) for name in ("unbroken", "killed"))
    assert {"generator", "critic", "critic.optimizer"} <= expected.keys()
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
