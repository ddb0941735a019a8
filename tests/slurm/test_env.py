"""slurm/env.sh: what it gives to job scripts, and what it refuses before anything is launched."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import TinyWorld

from hpc_sr.shipped import write_job_scripts

from .private_cluster import PROJECT, PrivateCluster

#: A bash function, exported: a site's module command.
_MODULE = {"BASH_FUNC_module%%": "() { :; }"}


def job_script(folder: Path, *lines: str) -> Path:
    """Return a job script that sources slurm/env.sh first."""
    script = folder / "job.sh"
    script.write_text("\n".join(["#!/bin/bash", "set -eo pipefail", "source slurm/env.sh || exit 2", *lines, ""]))
    return script


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"HPC_SR_VENV": "absent"}, "no Python environment absent"),
        ({"HPC_SR_SITE": "absent"}, "no .*/slurm/sites/absent.sh"),
        ({"HPC_SR_SITE": ""}, "no site:.*\n.*source slurm/sites/NAME.sh"),
    ],
)
def test_what_a_job_script_lacks_is_said(cluster: PrivateCluster, settings: dict[str, str], word: str) -> None:
    job = cluster.submit(PROJECT / "slurm/train_s2x2.sh", env=settings)
    assert (job.exit_code, job.restarts) == (2, 0)
    assert re.search(word, job.output) and "(cure: " in job.output, job.output


@pytest.mark.parametrize(
    "script", ["train_s2x2.sh", "train_s2x6.sh", "train_gan_s2x2.sh", "prepare.sh", "scaling_benchmark.sh"]
)
def test_a_recipe_that_is_not_there_is_named(cluster: PrivateCluster, script: str) -> None:
    job = cluster.submit(PROJECT / "slurm" / script, env={"RECIPE": "configs/absent.yaml"})
    assert (job.exit_code, job.restarts) == (2, 0)
    assert re.search("no recipe .*configs/absent.yaml", job.output) and "(cure: " in job.output, job.output


def test_the_number_of_tasks_must_fit_the_nodes(cluster: PrivateCluster, tiny: TinyWorld) -> None:
    job = cluster.submit("slurm/train_s2x2.sh", env={"RECIPE": str(tiny.recipe)}, options=["--ntasks=3"])
    assert job.exit_code == 2
    assert "3 tasks are asked for, but 2 nodes x 1 tasks are 2" in job.output and "cure" in job.output


def test_a_node_without_its_gpus_is_refused(cluster: PrivateCluster) -> None:
    env = {**_MODULE, "HPC_SR_SITE": "juwels_booster", "RECIPE": "configs/s2x_quick.yaml", "PATH": "/usr/bin:/bin"}
    job = cluster.submit("slurm/train_s2x2.sh", env=env)
    assert job.exit_code == 2
    assert "GPUs on n1, 4 per node expected" in job.output and "cure" in job.output


@pytest.mark.parametrize("gpus", [8, 7])
def test_gpus_of_amd_are_counted(cluster: PrivateCluster, tmp_path: Path, gpus: int) -> None:
    tool = tmp_path / "rocm-smi"
    lines = [f"echo 'GPU[{gpu}] : {what}'" for gpu in range(gpus) for what in ("Device ID", "Device Rev")]
    tool.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    tool.chmod(0o755)
    env = {"HPC_SR_SITE": "lumi", "PATH": f"{tmp_path}:/usr/bin:/bin"}
    job = cluster.submit(job_script(tmp_path, "need_gpus", "echo enough"), env=env)
    assert (job.exit_code == 0) == ("enough" in job.output) == (gpus == 8), job.output
    assert gpus == 8 or "7 GPUs on n1, 8 per node expected" in job.output


def test_ranks_are_launched_on_no_more_nodes_than_they_need(cluster: PrivateCluster, tmp_path: Path) -> None:
    told = "echo $SLURM_STEP_NUM_TASKS ranks, $SLURM_STEP_NUM_NODES nodes"
    script = job_script(tmp_path, f"for n in 1 2 3 4; do launch_ranks $n bash -c '{told}' | sort -u; done")
    job = cluster.submit(script, options=["--nodes=2", "--ntasks-per-node=2"])
    said = [line for line in job.output.splitlines() if line.endswith("nodes")]  # srun warns of the uneven three
    assert said == ["1 ranks, 1 nodes", "2 ranks, 1 nodes", "3 ranks, 2 nodes", "4 ranks, 2 nodes"]


def test_names_may_hold_anything(cluster: PrivateCluster, tiny: TinyWorld, tmp_path: Path) -> None:
    """Dashes in front, quotes, blanks, line ends, patterns and dollars, in folders, recipes, runs and jobs."""
    root = tmp_path / "-a 'root' \"of\" *\n$HOME"
    root.mkdir()
    (root / "slurm").symlink_to(PROJECT / "slurm")
    recipe = "-rf 'my'\n\"$(touch bad)\".yaml"
    (root / recipe).write_text(tiny.recipe.read_text())
    run, out = "my 'x' $(touch bad)", "-out '*'"
    options = ["--job-name=-n JobState=RUNNING 'job' $(touch bad)"]
    args = [f"name={run}", "train.batch_size_per_rank=8", "schedule.total_samples=32"]
    submission = {"env": {"RECIPE": recipe, "OUT": out, "RANKS": "1", "BACKENDS": "ddp"}, "cwd": root}

    job = cluster.submit("slurm/train_s2x2.sh", **submission, args=args, options=options)
    assert (job.state, job.exit_code) == ("COMPLETED", 0), job.output
    assert (tiny.recipe.parent / "runs" / run / "checkpoints/step_00000002").is_dir()

    args = ["--steps", "1", "--rounds", "1", "train.batch_size_per_rank=4"]
    job = cluster.submit("slurm/scaling_benchmark.sh", **submission, args=args, options=options)
    assert (job.state, job.exit_code) == ("COMPLETED", 0), job.output
    assert (root / out / "ddp_1.json").is_file() and (root / out / "scaling.md").is_file()
    assert {path.name for path in root.iterdir()} == {"slurm", recipe, out}


def test_scripts_work_from_where_they_were_written(cluster: PrivateCluster, tiny: TinyWorld, tmp_path: Path) -> None:
    scripts, elsewhere = tmp_path / "my jobs", tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert "local" in write_job_scripts(scripts)
    for name in ("env.sh", "tell_code.sh"):
        first, rest = (scripts / name).read_text().split("\n", 1)
        (scripts / name).write_text(f"{first}\necho the copy of {name}\n{rest}")
    found = cluster.run("bash", "-c", 'source "$0/sites/local.sh" && echo "$HPC_SR_SLURM"', scripts).strip()
    assert found == str(scripts)

    env = {"HPC_SR_SLURM": found, "RECIPE": str(tiny.recipe)}
    args = ["name=elsewhere", "train.batch_size_per_rank=8", "schedule.total_samples=32"]
    job = cluster.submit(scripts / "train_s2x2.sh", env=env, args=args, cwd=elsewhere)
    assert (job.state, job.exit_code) == ("COMPLETED", 0), job.output
    assert "the copy of env.sh" in job.output and "the copy of tell_code.sh" in job.output
    assert list(elsewhere.iterdir()) == []
