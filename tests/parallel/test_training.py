"""Training on two ranks: the same weights as on one, the same kind of run directory, whatever the launcher."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from launchers import plain_environment, require_horovod, require_launcher, run_command, run_ranks
from support import TinyWorld

#: The launcher and the backend that it must lead to.
LAUNCHED = {"mpirun": "horovod", "horovodrun": "horovod", "horovodrun-gloo": "horovod", "torchrun": "ddp"}
HPC_SR = Path(sys.executable).with_name("hpc-sr")


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "step_00000020" / "generator.pt", weights_only=True)


@pytest.fixture(scope="module")
def one_rank(tiny: TinyWorld) -> Path:
    """The run of one rank with the whole batch."""
    done = run_command([str(HPC_SR), "train", str(tiny.recipe), "name=one"], plain_environment(), timeout_s=120)
    assert done.returncode == 0, done.stderr
    return tiny.recipe.parent / "runs" / "one"


@pytest.mark.parametrize("launcher", LAUNCHED)
def test_two_ranks_with_half_the_batch_learn_the_same(tiny: TinyWorld, one_rank: Path, launcher: str) -> None:
    require_launcher(launcher)
    if LAUNCHED[launcher] == "horovod":
        require_horovod()
    args = ["train", str(tiny.recipe), f"name={launcher}", "train.batch_size_per_rank=8"]
    done = run_ranks(launcher, HPC_SR, args, timeout_s=180)
    assert done.returncode == 0, done.stderr
    run = one_rank.with_name(launcher)
    environment = json.loads((run / "environment.json").read_text())
    assert (environment["backend"], environment["world_size"]) == (LAUNCHED[launcher], 2)
    assert {path.name for path in run.iterdir()} == {path.name for path in one_rank.iterdir()}
    assert sorted(path.name for path in (run / "log").iterdir()) == ["rank_0000.log", "rank_0001.log"]
    expected = weights(one_rank)
    for name, tensor in weights(run).items():
        # Two halves add up in another order, and Adam's first steps are signs: relative to weights of about 0.1.
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=2e-4)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    reference = [json.loads(line) for line in (one_rank / "metrics.jsonl").read_text().splitlines()]
    for line, other in zip(lines, reference, strict=True):
        assert (line["kind"], line["step"], line["samples"]) == (other["kind"], other["step"], other["samples"])
        for name in ("loss", "rmse", "rmse_bicubic"):
            if name in line:
                assert line[name] == pytest.approx(other[name], rel=1e-3)


def test_evaluation_does_not_depend_on_the_ranks(tiny: TinyWorld, one_rank: Path, tmp_path: Path) -> None:
    scores = []
    for ranks in (1, 2):
        file = tmp_path / f"{ranks}.json"
        args = ["evaluate", str(one_rank), "--product", str(tiny.products[1]), "--json", str(file)]
        done = run_ranks("torchrun", HPC_SR, args, ranks=ranks, timeout_s=180)
        assert done.returncode == 0, done.stderr
        scores.append(json.loads(file.read_text())["synthesis"]["mean"])
    for method, one in scores[0].items():
        for name, value in one["total"].items():
            assert scores[1][method]["total"][name] == pytest.approx(value, rel=1e-9)


def test_a_rank_that_fails_ends_the_run(tiny: TinyWorld, tmp_path: Path) -> None:
    require_launcher("mpirun")
    require_horovod()
    done = run_ranks("mpirun", HPC_SR, ["train", str(tiny.recipe), f"store={tmp_path}", "name=failing"], timeout_s=60)
    assert done.returncode != 0
    assert "manifest.json" in done.stderr
