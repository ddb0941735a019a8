"""The batch script itself, submitted to a real cluster of two nodes."""

from __future__ import annotations

import json

import torch
from support import TinyWorld

from .private_cluster import PrivateCluster
from .training_job import Training, wait_until


def test_sbatch_trains_on_two_nodes(unbroken: Training) -> None:
    environment = json.loads((unbroken.run / "environment.json").read_text())
    assert (environment["backend"], environment["world_size"]) == ("horovod", 2)
    assert environment["slurm"]["SLURM_JOB_ID"] == str(unbroken.number)
    assert all(torch.isfinite(tensor).all() for tensor in unbroken.weights().values())
    names = {path.name for path in unbroken.run.iterdir()}
    assert {"recipe.yaml", "environment.json", "metrics.jsonl", "log", "checkpoints"} <= names


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
