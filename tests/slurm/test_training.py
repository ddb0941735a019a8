"""The batch script itself, submitted to a real cluster of two nodes."""

from __future__ import annotations

import json
import time

import torch
from support import TinyWorld

from .private_cluster import PrivateCluster


def test_sbatch_trains_on_two_nodes_and_resumes(cluster: PrivateCluster, tiny: TinyWorld) -> None:
    args = ["name=slurm", "train.batch_size_per_rank=8"]
    first = [*args, "schedule.total_samples=160"]
    job = cluster.submit("slurm/train_s2x2.sh", env={"RECIPE": str(tiny.recipe)}, args=first, timeout_s=180)
    assert (job.state, job.exit_code) == ("COMPLETED", 0), job.output
    run = tiny.recipe.parent / "runs" / "slurm"
    environment = json.loads((run / "environment.json").read_text())
    assert (environment["backend"], environment["world_size"]) == ("horovod", 2)
    assert environment["slurm"]["SLURM_JOB_ID"] == str(job.number)
    assert (run / "checkpoints" / "step_00000010").is_dir()
    # The same command with a longer schedule goes on from there: as a job that ran out of time does.
    job = cluster.submit("slurm/train_s2x2.sh", env={"RECIPE": str(tiny.recipe)}, args=args, timeout_s=180)
    assert job.exit_code == 0 and "resumed from" in job.output, job.output
    weights = torch.load(run / "checkpoints" / "step_00000020" / "generator.pt", weights_only=True)
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    assert {"recipe.yaml", "environment.json", "metrics.jsonl", "log", "checkpoints"} <= {
        p.name for p in run.iterdir()
    }


def test_a_warning_signal_reaches_all_ranks_and_saves(cluster: PrivateCluster, tiny: TinyWorld) -> None:
    endless = ["schedule.total_samples=100000000", "train.evaluate_every_steps=1000000", "train.log_every_steps=1"]
    args = ["name=warned", *endless, "train.checkpoint_every_steps=1000000"]
    number = cluster.enqueue("slurm/train_s2x2.sh", env={"RECIPE": str(tiny.recipe)}, args=args)
    metrics = tiny.recipe.parent / "runs" / "warned" / "metrics.jsonl"
    deadline = time.monotonic() + 90
    while not (metrics.exists() and metrics.read_text()) and time.monotonic() < deadline:
        time.sleep(0.2)
    cluster.run("scancel", "--signal=USR1", str(number))
    job = cluster.wait(number, timeout_s=60)
    assert job.exit_code == 0 and "stopped by a signal" in job.output, job.output
    last = json.loads(metrics.read_text().splitlines()[-1])["step"]
    assert (metrics.parent / "checkpoints" / f"step_{last:08d}").is_dir()


def test_prepare_is_shared_out_to_the_nodes(cluster: PrivateCluster, tiny: TinyWorld) -> None:
    store = tiny.recipe.parent / "store-of-two-nodes"
    job = cluster.submit("slurm/prepare.sh", env={"RECIPE": str(tiny.recipe)}, args=[f"store={store}"], timeout_s=120)
    assert job.exit_code == 0, job.output
    assert (store / "manifest.json").read_bytes() == (tiny.store / "manifest.json").read_bytes()


def test_a_recipe_that_fails_fails_the_job(cluster: PrivateCluster, tiny: TinyWorld) -> None:
    job = cluster.submit(
        "slurm/train_s2x2.sh", env={"RECIPE": str(tiny.recipe)}, args=["store=nowhere", "name=x"], timeout_s=120
    )
    assert job.exit_code != 0 and "manifest.json" in job.output
