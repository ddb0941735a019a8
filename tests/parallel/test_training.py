"""Training on two ranks: the same weights as on one, the same kind of run directory, whatever the launcher."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from launchers import plain_environment, ranks_environment, require_horovod, require_launcher, run_command, run_ranks
from support import TinyWorld

#: The launcher and the backend that it must lead to.
LAUNCHED = {"mpirun": "horovod", "horovodrun": "horovod", "horovodrun-gloo": "horovod", "torchrun": "ddp"}
HPC_SR = Path(sys.executable).with_name("hpc-sr")


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
    done = run_command([str(HPC_SR), "train", str(tiny.recipe), "name=one"], plain_environment())
    assert done.returncode == 0, done.stderr
    return tiny.recipe.parent / "runs" / "one"


@pytest.mark.parametrize("launcher", LAUNCHED)
def test_two_ranks_with_half_the_batch_learn_the_same(tiny: TinyWorld, one_rank: Path, launcher: str) -> None:
    require_launcher(launcher)
    if LAUNCHED[launcher] == "horovod":
        require_horovod()
    args = ["train", str(tiny.recipe), f"name={launcher}", "train.batch_size_per_rank=8"]
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


def begun_on_one_rank(tiny: TinyWorld, name: str) -> list[str]:
    """Return the arguments of a run that one rank has brought to the middle."""
    args = ["train", str(tiny.recipe), f"name={name}"]
    half = run_command([str(HPC_SR), *args, "schedule.total_samples=160"], plain_environment())
    assert half.returncode == 0, half.stderr
    return args


def test_a_run_goes_on_with_other_ranks_where_the_samples_ended(tiny: TinyWorld, one_rank: Path) -> None:
    """No sample is seen twice or left out: the weights are those of one rank that was never interrupted."""
    require_launcher("torchrun")
    args = begun_on_one_rank(tiny, "moved")
    done = run_ranks("torchrun", HPC_SR, [*args, "train.batch_size_per_rank=8"])
    assert done.returncode == 0 and "160 samples" in done.stderr, done.stderr
    assert_same_weights(one_rank.with_name("moved"), one_rank)


def test_another_global_batch_goes_on_at_the_same_sample(tiny: TinyWorld, one_rank: Path) -> None:
    require_launcher("torchrun")
    args = begun_on_one_rank(tiny, "grown")
    done = run_ranks("torchrun", HPC_SR, [*args, "train.log_every_steps=1"])
    assert done.returncode == 0, done.stderr
    lines = (one_rank.with_name("grown") / "metrics.jsonl").read_text().splitlines()
    trained = [line for line in map(json.loads, lines) if line["kind"] == "train"]
    assert [(line["step"], line["samples"]) for line in trained][-5:] == [(10 + n, 160 + 32 * n) for n in range(1, 6)]


@pytest.mark.parametrize("launcher", ["mpirun", "torchrun"])
def test_a_global_batch_is_accumulated_where_ranks_are_few(tiny: TinyWorld, one_rank: Path, launcher: str) -> None:
    require_launcher(launcher)
    if LAUNCHED[launcher] == "horovod":
        require_horovod()
    name = f"accumulated-{launcher}"
    args = ["train", str(tiny.recipe), f"name={name}", "train.batch_size_per_rank=2", "train.global_batch_size=16"]
    done = run_ranks(launcher, HPC_SR, args)
    assert done.returncode == 0 and "global batch 16 = 2 x 2 ranks x 4" in done.stderr, done.stderr
    assert_same_weights(one_rank.with_name(name), one_rank)


@pytest.mark.parametrize("launcher", ["mpirun", "torchrun"])
@pytest.mark.parametrize("options", [["comm.compression=fp16"], ["train.precision=fp16"]], ids=["travel", "compute"])
def test_half_precision_learns_nearly_the_same(
    tiny: TinyWorld, one_rank: Path, launcher: str, options: list[str]
) -> None:
    require_launcher(launcher)
    if LAUNCHED[launcher] == "horovod":
        require_horovod()
    name = f"half-{launcher}-{options[0][-20:-5]}"
    args = ["train", str(tiny.recipe), f"name={name}", "train.batch_size_per_rank=8", *options]
    done = run_ranks(launcher, HPC_SR, args)
    assert done.returncode == 0, done.stderr
    ours, theirs = (last_line(run) for run in (one_rank.with_name(name), one_rank))
    assert ours["rmse"] == pytest.approx(theirs["rmse"], rel=0.05) and ours["rmse"] != theirs["rmse"]


def test_adasum_learns_and_resumes_to_the_bit(tiny: TinyWorld, one_rank: Path) -> None:
    require_launcher("mpirun")
    require_horovod()
    options = ["train.batch_size_per_rank=8", "comm.reduction=adasum"]
    for name, totals in (("adasum", (320,)), ("adasum-resumed", (160, 320))):
        for total in totals:
            args = ["train", str(tiny.recipe), f"name={name}", f"schedule.total_samples={total}", *options]
            done = run_ranks("mpirun", HPC_SR, args)
            assert done.returncode == 0, done.stderr
    ours, resumed = one_rank.with_name("adasum"), one_rank.with_name("adasum-resumed")
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


@pytest.mark.parametrize("mode", ["--mpi", "--gloo"])
def test_sixteen_ranks_as_they_are_typed(tiny: TinyWorld, mode: str) -> None:
    """`horovodrun -np 16` on one host, with fewer processors than ranks."""
    require_launcher("horovodrun")
    require_horovod()
    command = [str(HPC_SR.with_name("horovodrun")), mode, "-np", "16", str(HPC_SR), "train", str(tiny.recipe)]
    command += [f"name=sixteen{mode}", "train.batch_size_per_rank=2"]
    done = run_command(command, ranks_environment())
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    run = tiny.recipe.parent / "runs" / f"sixteen{mode}"
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
        done = run_ranks("torchrun", HPC_SR, [*args, "--protocol", "both"], ranks=ranks)
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


def test_a_rank_that_fails_ends_the_run(tiny: TinyWorld, tmp_path: Path) -> None:
    require_launcher("mpirun")
    require_horovod()
    done = run_ranks("mpirun", HPC_SR, ["train", str(tiny.recipe), f"store={tmp_path}", "name=failing"])
    assert done.returncode != 0
    assert "manifest.json" in done.stderr
