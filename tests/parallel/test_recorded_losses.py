"""Twenty seeded steps of every family and precision give the losses on record, on one rank and on two."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from launchers import LAUNCHERS, plain_environment, require_horovod, require_launcher, run_command, run_ranks

SCRIPT = Path(__file__).with_name("recorded_losses.py")
RECORDED = json.loads(SCRIPT.with_suffix(".json").read_text())
#: Sums add up in another order on other processors and ranks, and Adam's first steps are signs.
TOLERANCE = {"fp32": 2e-3, "bf16": 2e-2, "fp16": 2e-2}


def check(folder: Path) -> None:
    found = json.loads((folder / "losses.json").read_text())
    assert found.keys() == RECORDED.keys()
    for name, expected in RECORDED.items():
        assert found[name] == pytest.approx(expected, rel=TOLERANCE[name.rsplit("_", 1)[1]]), name


def test_one_rank(tmp_path):
    done = run_command([sys.executable, str(SCRIPT), str(tmp_path)], plain_environment())
    assert done.returncode == 0, done.stderr[-4000:]
    check(tmp_path)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_ranks(tmp_path, launcher):
    require_launcher(launcher)
    if launcher != "torchrun":
        require_horovod()
    done = run_ranks(launcher, SCRIPT, [str(tmp_path)])
    assert done.returncode == 0, done.stderr[-4000:]
    check(tmp_path)
