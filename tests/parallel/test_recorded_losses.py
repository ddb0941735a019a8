"""Twenty seeded steps of every family and precision give the losses on record, on one rank and on two."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from launchers import plain_environment, require_horovod, require_launcher, run_command, run_ranks

SCRIPT = Path(__file__).with_name("recorded_losses.py")
RECORDED = json.loads(SCRIPT.with_suffix(".json").read_text())
#: Sums add up in another order on other processors and ranks, and Adam's first steps are signs.
TOLERANCE = {"fp32": 2e-3, "bf16": 2e-2, "fp16": 2e-2}


#: What differs in what it exchanges: portions, sums of BatchNorm, draws, several networks. All families on one backend.
EXCHANGING = ("s2x", "s2x_averaged", "srresnet", "degan", "rrsgan")


def check(folder: Path, families: tuple[str, ...] = ()) -> None:
    found = json.loads((folder / "losses.json").read_text())
    wanted = [name for name in RECORDED if not families or name.rsplit("_", 1)[0] in families]
    assert found.keys() == set(wanted) and len(wanted) >= len(families)
    for name in wanted:
        expected = RECORDED[name]
        assert found[name] == pytest.approx(expected, rel=TOLERANCE[name.rsplit("_", 1)[1]]), name


def test_one_rank(tmp_path):
    done = run_command([sys.executable, str(SCRIPT), str(tmp_path)], plain_environment())
    assert done.returncode == 0, done.stderr[-4000:]
    check(tmp_path)


@pytest.mark.parametrize("launcher", ["mpirun", "horovodrun-gloo", "torchrun"])
def test_two_ranks(tmp_path, launcher):
    require_launcher(launcher)
    if launcher != "torchrun":
        require_horovod()
    families = () if launcher == "torchrun" else EXCHANGING
    done = run_ranks(launcher, SCRIPT, [str(tmp_path), "-", *families])
    assert done.returncode == 0, done.stderr[-4000:]
    check(tmp_path, families)
