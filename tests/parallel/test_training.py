"""Training on two ranks: the same weights as on one, the same kind of run directory, whatever the launcher."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from launchers import ranks_environment, require_horovod, require_launcher, run_command, run_ranks
from support import TinyWorld, run_cli

#: The launcher and the backend that it must lead to.
LAUNCHED = {"mpirun": "horovod", "horovodrun": "horovod", "horovodrun-gloo": "horovod", "torchrun": "ddp"}
HPC_SR = Path(sys.executable).with_name("hpc-sr")
SEVERAL = Path(__file__).with_name("train_runs.py")
HALF = ["train.batch_size_per_rank=8"]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "step_00000020" / "generator.pt", weights_only=True)


def assert_same_weights(run: Path, other: Path) -> None:
    expected = weights(other)
    for name, tensor in weights(run).items():
        # Parts add up in another order, and Adam's first steps are signs: relative to weights of about 0.1.
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=2e-4)


def last_line(run: Path) -> dict:
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])


@pytest.fixture(scope="module")
def one_rank(tiny: TinyWorld) -> Path:
    """The run of one rank with the whole batch."""
    assert not run_cli("train", tiny.recipe, "name=one")
    return tiny.recipe.parent / "runs" / "one"


@pytest.mark.parametrize("launcher", LAUNCHED)
def test_two_ranks_with_half_the_batch_learn_the_same(tiny: TinyWorld, one_rank: Path, launcher: str) -> None:
    require_launcher(launcher)
    if LAUNCHED[launcher] == "horovod":
        require_horovod()
    args = ["train", str(tiny.recipe), f"name={launcher}", *HALF]
    done = run_ranks(launcher, HPC_SR, args)
    assert done.returncode == 0, done.stderr
    run = one_rank.with_name(launcher)
    environment = json.loads((run / "environment.json").read_text())
    assert (environment["backend"], environment["world_size"]) == (LAUNCHED[launcher], 2)
    assert {path.name for path in run.iterdir()} == {path.name for path in one_rank.iterdir()}
    assert sorted(path.name for path in (run / "log").iterdir()) == ["rank_0000.log", "rank_0001.log"]
    assert_same_weights(run, one_rank)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    reference = [json.loads(line) for line in (one_rank / "metrics.jsonl").read_text().splitlines()]
    for line, other in zip(lines, reference, strict=True):
        assert (line["kind"], line["step"], line["samples"]) == (other["kind"], other["step"], other["samples"])
        for name in ("loss", "rmse", "rmse_bicubic"):
            if name in line:
                assert line[name] == pytest.approx(other[name], rel=1e-3)


#: Runs that one launch of two ranks trains one after the other, by name.
RUNS = {
    "accumulated": ["train.batch_size_per_rank=2", "train.global_batch_size=16"],
    "travel": [*HALF, "comm.compression=fp16"],
    "compute": [*HALF, "train.precision=fp16"],
    "moved": HALF,
    "grown": ["train.log_every_steps=1"],
}
ADASUM = [*HALF, "comm.reduction=adasum"]
#: What one rank has brought to the middle.
BEGUN = ("moved", "grown")


@pytest.fixture(scope="module", params=["mpirun", "torchrun"])
def two_ranks(request: pytest.FixtureRequest, tiny: TinyWorld, one_rank: Path) -> Path:
    """The folder of RUNS as two ranks have trained them, with Adasum's where there are some."""
    launcher = request.param
    require_launcher(launcher)
    runs = [[f"name={name}", *options] for name, options in RUNS.items()]
    if LAUNCHED[launcher] == "horovod":
        require_horovod()
        runs += [["name=adasum", *ADASUM]]
        runs += [["name=adasum-resumed", *ADASUM, f"schedule.total_samples={total}"] for total in (160, 320)]
    folder = one_rank.parent / f"together-{launcher}"
    for name in BEGUN:
        assert not run_cli("train", tiny.recipe, f"train.runs={folder}", f"name={name}", "schedule.total_samples=160")
    args = [str(tiny.recipe), *(json.dumps([f"train.runs={folder}", *words]) for words in runs)]
    done = run_ranks(launcher, SEVERAL, args)
    assert done.returncode == 0, done.stderr
    return folder


def said(run: Path) -> str:
    return (run / "log" / "rank_0000.log").read_text()


def test_a_run_goes_on_with_other_ranks_where_the_samples_ended(two_ranks: Path, one_rank: Path) -> None:
    """No sample is seen twice or left out: the weights are those of one rank that was never interrupted."""
    assert "160 samples" in said(two_ranks / "moved")
    assert_same_weights(two_ranks / "moved", one_rank)


def test_another_global_batch_goes_on_at_the_same_sample(two_ranks: Path) -> None:
    lines = (two_ranks / "grown" / "metrics.jsonl").read_text().splitlines()
    trained = [line for line in map(json.loads, lines) if line["kind"] == "train"]
    assert [(line["step"], line["samples"]) for line in trained][-5:] == [(10 + n, 160 + 32 * n) for n in range(1, 6)]


def test_a_global_batch_is_accumulated_where_ranks_are_few(two_ranks: Path, one_rank: Path) -> None:
    assert "global batch 16 = 2 x 2 ranks x 4" in said(two_ranks / "accumulated")
    assert_same_weights(two_ranks / "accumulated", one_rank)


@pytest.mark.parametrize("half", ["travel", "compute"])
def test_half_precision_learns_nearly_the_same(two_ranks: Path, one_rank: Path, half: str) -> None:
    ours, theirs = (last_line(run) for run in (two_ranks / half, one_rank))
    assert ours["rmse"] == pytest.approx(theirs["rmse"], rel=0.05) and ours["rmse"] != theirs["rmse"]


@pytest.mark.parametrize("two_ranks", ["mpirun"], indirect=True)
def test_adasum_learns_and_resumes_to_the_bit(two_ranks: Path) -> None:
    ours, resumed = two_ranks / "adasum", two_ranks / "adasum-resumed"
    assert all(torch.equal(tensor, weights(resumed)[name]) for name, tensor in weights(ours).items())
    validations = [json.loads(line) for line in (ours / "metrics.jsonl").read_text().splitlines()]
    rmse = [line["rmse"] for line in validations if line["kind"] == "validation"]
    assert rmse[-1] < rmse[0]


def test_gradients_that_stay_infinite_end_all_ranks_and_name_the_patches(tiny: TinyWorld) -> None:
    require_launcher("mpirun")
    require_horovod()
    args = ["train", str(tiny.recipe), "name=infinite", "optimizer.name=sgd", "optimizer.base_lr=1e9"]
    done = run_ranks("mpirun", HPC_SR, [*args, "train.max_skipped_steps=3"])
    assert done.returncode == 2, done.stderr
    assert "TrainingError" in done.stderr and "in 4 updates in a row" in done.stderr and "clip_norm" in done.stderr
    told = sorted((tiny.recipe.parent / "runs" / "infinite" / "not_finite").iterdir())
    ranks = json.loads(told[-1].read_text())["ranks"]
    assert len(told) == 4 and [len(rank["patches"]) for rank in ranks] == [16, 16]
    assert {patch["product"] for rank in ranks for patch in rank["patches"]} == {tiny.products[0].stem}


def test_sixteen_ranks_as_they_are_typed(tiny: TinyWorld) -> None:
    """`horovodrun -np 16` on one host, with fewer processors than ranks."""
    require_launcher("horovodrun")
    require_horovod()
    command = [str(HPC_SR.with_name("horovodrun")), "--mpi", "-np", "16", str(HPC_SR), "train", str(tiny.recipe)]
    done = run_command([*command, "name=sixteen", "train.batch_size_per_rank=2"], ranks_environment())
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    run = tiny.recipe.parent / "runs" / "sixteen"
    assert json.loads((run / "environment.json").read_text())["world_size"] == 16
    assert (run / "checkpoints" / "step_00000010").is_dir() and last_line(run)["samples"] == 320


def test_evaluation_does_not_depend_on_the_ranks(tiny: TinyWorld, one_rank: Path, tmp_path: Path) -> None:
    """Of three products two are scored by a rank each, the windows of the third are shared out."""
    second = tiny.products[1]
    third = Path(shutil.copytree(second, tmp_path / second.name.replace("T32TQM", "T32TQN")))
    metadata = third / "MTD_MSIL1C.xml"
    metadata.write_text(metadata.read_text().replace(f"<PRODUCT_URI>{second.name}", f"<PRODUCT_URI>{third.name}"))
    scores = []
    for ranks in (1, 2):
        shutil.rmtree(one_rank / "evaluate", ignore_errors=True)  # what is scored is not scored again
        file = tmp_path / f"{ranks}.json"
        args = ["evaluate", str(one_rank), "--product", *map(str, (*tiny.products, third)), "--json", str(file)]
        args += ["--protocol", "both"]
        if ranks == 1:
            assert not run_cli(*args)
        else:
            done = run_ranks("torchrun", HPC_SR, args)
            assert done.returncode == 0, done.stderr
        scores.append(json.loads(file.read_text()))
    for protocol, one in scores[0].items():
        two = scores[1][protocol]
        assert [scene["scene"] for scene in one["scenes"]] == [scene["scene"] for scene in two["scenes"]]
        for method in ("bicubic", "s2x"):
            for scene, other in zip(one["scenes"], two["scenes"], strict=True):
                for name, value in scene["methods"][method]["total"].items():
                    assert other["methods"][method]["total"][name] == pytest.approx(value, rel=1e-9), name
                for band, curves in scene["spectra"][method].items():
                    assert other["spectra"][method][band]["transfer"] == pytest.approx(curves["transfer"], rel=1e-9)
