"""Adversarial training on two ranks: what one rank computes, for every loss.

HPC_SR_RANKS=3 pytest tests/parallel/test_adversarial_ranks.py compares the losses on three.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from adversarial_losses import CASES, RANKS, STEPS
from launchers import plain_environment, require_horovod, require_launcher, run_command, run_ranks
from made_store import made_store

from hpc_sr.losses.adversarial import ADVERSARIAL_LOSSES
from hpc_sr.tasks import S2X

SCRIPT = Path(__file__).with_name("adversarial_losses.py")
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
