"""The batch script itself, submitted to a real cluster of two nodes."""

from __future__ import annotations

import json

import torch
from support import TinyWorld

from .private_cluster import PrivateCluster
from .training_job import Training, wait_until


def test_sbatch_trains_on_two_nodes_and_resumes(cluster: PrivateCluster, tiny: TinyWorld) -> None:
    args = ["name=slurm", "train.batch_size_per_rank=8"]
    first = [*args, "schedule.total_samples=160"]
    job = cluster.submit("slurm/train_s2x2.sh", env={"RECIPE": str(tiny.recipe)}, args=first)
    assert (job.state, job.exit_code) == ("COMPLETED", 0), job.output
    run = tiny.recipe.parent / "runs" / "slurm"
    environment = json.loads((run / "environment.json").read_text())
    assert (environment["backend"], environment["world_size"]) == ("horovod", 2)
    assert environment["slurm"]["SLURM_JOB_ID"] == str(job.number)
    assert (run / "checkpoints" / "step_00000010").is_dir()
    # The same command with a longer schedule goes on from there: as a job that ran out of time does.
    job = cluster.submit("slurm/train_s2x2.sh", env={"RECIPE": str(tiny.recipe)}, args=args)
    assert job.exit_code == 0 and "resumed from" in job.output, job.output
    weights = torch.load(run / "checkpoints" / "step_00000020" / "generator.pt", weights_only=True)
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    assert {"recipe.yaml", "environment.json", "metrics.jsonl", "log", "checkpoints"} <= {p.name for p in run.iterdir()}


def test_torchrun_trains_on_two_nodes_and_a_stopped_job_comes_back(cluster: PrivateCluster, tiny: TinyWorld) -> None:
    steps = 120
    words = [f"schedule.total_samples={16 * steps}"]
    training = Training.submit(cluster, tiny, "torchrun", args=words, env={"LAUNCHER": "torchrun"})
    wait_until(lambda: any(training.run.glob("checkpoints/step_*/generator.pt")))
    cluster.run("scancel", "--signal=USR1", str(training.number))
    job = cluster.wait(training.number)
    assert (job.state, job.exit_code, job.restarts) == ("COMPLETED", 0, 1), job.output
    assert job.output.count("train_s2x2: stopped by a signal after a checkpoint") == 1, job.output
    environment = json.loads((training.run / "environment.json").read_text())
    assert (environment["backend"], environment["world_size"]) == ("ddp", 2)
    assert (training.run / f"checkpoints/step_{steps:08d}/generator.pt").is_file()


def test_an_unknown_launcher_is_refused_with_the_cure(cluster: PrivateCluster, tiny: TinyWorld) -> None:
    env = {"RECIPE": str(tiny.recipe), "LAUNCHER": "mpiexec"}
    job = cluster.submit("slurm/train_s2x2.sh", env=env)
    assert job.exit_code == 2 and "no launcher 'mpiexec' (cure: LAUNCHER=torchrun" in job.output, job.output
