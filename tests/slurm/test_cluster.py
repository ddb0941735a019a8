"""slurm/: the private cluster, the ranks that it starts, the site files."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import require

from .private_cluster import PROJECT, PrivateCluster
from .training_job import wait_until

_RANKS = """
import os
import numpy as np
from hpc_sr.comm.launch import connected

with connected() as comm:
    total = comm.sum(np.array([comm.rank + 1.0]))[0]
    node = os.environ["SLURMD_NODENAME"]
    lines = comm.gather(f"{comm.backend} {comm.rank}/{comm.world_size} local {comm.local_rank} {node}")
    if comm.rank == 0:
        print(total, *lines, sep="\\n")
"""
_SITES = sorted(path.stem for path in (PROJECT / "slurm/sites").glob("*.sh") if path.stem != "jsc")


def test_both_nodes_are_idle_with_four_processors_and_gpus(cluster: PrivateCluster) -> None:
    wait_until(lambda: _idle(cluster) == ["n1", "n2"])  # a job before may still be on its way out

    nodes = cluster.run("sinfo", "--noheader", "--Node", "--responding", "--format=%N %c %G").splitlines()
    assert nodes == ["n1 4 gpu:4", "n2 4 gpu:4"]


def test_starting_a_running_cluster_again_leaves_it_alone(cluster: PrivateCluster) -> None:
    before = cluster.run("scontrol", "show", "config")

    assert cluster.start().startswith("already running")
    assert _boot_time(cluster.run("scontrol", "show", "config")) == _boot_time(before)


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_of_a_batch_job_comes_back(cluster: PrivateCluster, tmp_path: Path, code: int) -> None:
    script = tmp_path / "job.sh"
    script.write_text(f'#!/bin/sh\necho "$1" "$WORD" "$SLURM_JOB_NUM_NODES"\nexit {code}\n')

    job = cluster.submit(script, env={"WORD": "there"}, args=["hello"], options=["--nodes=2"])

    assert (job.state, job.exit_code) == (("FAILED", "COMPLETED")[code == 0], code)
    assert job.output == "hello there 2\n"


def test_sbatch_wait_reports_failure(cluster: PrivateCluster) -> None:
    cluster.run("sbatch", "--wait", "--output=/dev/null", "--wrap", "true")
    with pytest.raises(RuntimeError, match="ended with 5"):
        cluster.run("sbatch", "--wait", "--output=/dev/null", "--wrap", "exit 5")


def test_a_requeued_job_starts_again_within_seconds(cluster: PrivateCluster, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text('#!/bin/sh\n[ -n "$SLURM_RESTART_COUNT" ] || { scontrol requeue $SLURM_JOB_ID; sleep 600; }\n')

    job = cluster.submit(script, options=["--requeue", "--open-mode=append"])

    assert (job.state, job.restarts) == ("COMPLETED", 1)


def test_a_job_that_takes_too_long_is_cancelled(cluster: PrivateCluster, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\necho begun\nsleep 600\n")
    number = cluster.enqueue(script)
    output = cluster.directory / f"job-{number}.out"
    wait_until(lambda: output.exists() and output.read_text())

    with pytest.raises(TimeoutError, match="RUNNING after 0.1 s:\nbegun"):
        cluster.wait(number, timeout_s=0.1)
    assert not cluster.run("squeue", "--noheader", "--states=RUNNING,PENDING").strip()


@pytest.mark.parametrize(("mpi", "backend"), [("pmix", "horovod"), ("none", "ddp")])
def test_srun_makes_one_world_of_both_nodes(cluster: PrivateCluster, tmp_path: Path, mpi: str, backend: str) -> None:
    if backend == "horovod":
        require(importlib.util.find_spec("horovod"), "horovod is not installed (make horovod)")
    script = tmp_path / "ranks.py"
    script.write_text(_RANKS)
    size, tasks_per_node = 4, 2

    said = cluster.run(
        "srun",
        "--kill-on-bad-exit=1",
        "--nodes=2",
        f"--ntasks={size}",
        f"--ntasks-per-node={tasks_per_node}",
        f"--mpi={mpi}",
        sys.executable,
        script,
    )

    total, *lines = said.splitlines()
    assert float(total) == size * (size + 1) / 2
    assert lines == [
        f"{backend} {rank}/{size} local {rank % tasks_per_node} n{1 + rank // tasks_per_node}" for rank in range(size)
    ]


@pytest.mark.parametrize("site", _SITES)
def test_a_site_file_says_all_that_a_job_needs(site: str) -> None:
    module = "module() { :; }; scontrol() { echo node7; }; export -f module scontrol; "
    shell = ["bash", "-euc", module + 'source "slurm/sites/$0.sh"; eval "$1"', site]
    submission = {"PATH": "/usr/bin:/bin", "SBATCH_ACCOUNT": "budget"}
    job = {**submission, "SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "node[7-8]", "SLURM_CLUSTER_NAME": "hpc_sr_1"}

    def ask(question: str, env: dict[str, str]) -> str:
        return subprocess.run(
            [*shell, question], env=env, cwd=PROJECT, capture_output=True, text=True, check=True
        ).stdout

    asked = 'echo "$HPC_SR_SITE" "${SBATCH_PARTITION:+set}" "$HPC_SR_SLURM"'
    assert ask(asked, submission).split() == [site, "set", str(PROJECT / "slurm")]
    assert "CUDA_VISIBLE_DEVICES" not in ask("env", submission), "a login shell keeps its own"
    words = "$HPC_SR_GPUS_PER_NODE $HPC_SR_TASKS_PER_NODE $HPC_SR_CPUS_PER_TASK"
    gpus, tasks, processors = map(int, ask(f"echo {words}", job).split())
    assert tasks >= max(1, gpus) and processors >= 1
    # The user's wish wins, and the node's processors are shared out anew.
    for wish in ("HPC_SR_TASKS_PER_NODE", "SLURM_NTASKS_PER_NODE"):
        _, two, more = map(int, ask(f"echo {words}", {**job, wish: "2"}).split())
        assert two == 2 and (more * two == processors * tasks or site == "local")
    assert ask('echo "${HPC_SR_SRUN_OPTIONS[0]}"', job).startswith("--mpi=p")


def test_the_local_site_is_refused_on_another_cluster() -> None:
    """Its address is the loopback: ranks on several hosts would wait for each other in vain."""
    job = {"PATH": "/usr/bin:/bin", "SLURM_JOB_ID": "1", "SLURM_CLUSTER_NAME": "juwels"}
    done = subprocess.run(
        ["bash", "-c", "source slurm/sites/local.sh"], env=job, cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 2 and "the cluster juwels is none of slurm/local" in done.stderr and "cure" in done.stderr


def test_all_scripts_are_clean() -> None:
    require(shutil.which("shellcheck"), "shellcheck is not installed")
    scripts = sorted(path for folder in ("slurm", "tools") for path in (PROJECT / folder).rglob("*.sh"))
    assert len(scripts) >= 20

    done = subprocess.run(["shellcheck", "--external-sources", *scripts], cwd=PROJECT, capture_output=True, text=True)

    assert not done.stdout and done.returncode == 0, done.stdout


@pytest.fixture
def second(require_slurm: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateCluster]:
    """Lend a cluster of this test's own, not started."""
    private = PrivateCluster(tmp_path_factory.mktemp("second"))
    yield private
    private.stop()


def test_stop_ends_its_own_jobs_and_daemons_and_no_others(cluster: PrivateCluster, second: PrivateCluster) -> None:
    second.start()
    number = second.enqueue(_sleeping(second), options=["--nodes=2"])
    wait_until(lambda: second.facts(number)["JobState"] == "RUNNING" and len(_processes_of(second)) >= 9)

    assert second.stop().startswith("stopped")

    assert not _processes_of(second)
    assert second.stop().startswith("nothing runs")
    wait_until(lambda: _idle(cluster) == ["n1", "n2"])


def test_start_clears_what_killed_daemons_left(second: PrivateCluster) -> None:
    second.start()
    number = second.enqueue(_sleeping(second), options=["--nodes=2"])
    wait_until(lambda: second.facts(number)["JobState"] == "RUNNING")
    for pid in _processes_of(second, "slurmctld", "slurmd", "munged"):
        os.kill(pid, signal.SIGKILL)

    assert second.start().startswith("two nodes are idle")

    assert second.run("squeue", "--noheader") == ""
    assert second.run("srun", "--nodes=2", "echo", "up").split() == ["up", "up"]


def test_start_refuses_a_directory_with_other_files(
    require_slurm: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("own")
    (directory / "log").mkdir()
    with pytest.raises(RuntimeError, match="is not empty"):
        PrivateCluster(directory).start()
    assert (directory / "log").is_dir()


def _sleeping(private: PrivateCluster) -> Path:
    """Return a script with a task per node that lasts longer than the tests, and carries the cluster's name."""
    script = private.directory / "sleeping.sh"
    script.write_text(f"#!/bin/bash\nsrun --ntasks=2 bash -c 'sleep 600; : {private.directory}'\n")
    return script


def _processes_of(private: PrivateCluster, *names: str) -> list[int]:
    """Return the processes that work in the cluster's directory or name it on their command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            place, words = os.readlink(process / "cwd"), (process / "cmdline").read_text()
            name = (process / "comm").read_text().strip()
        except OSError:  # it has ended meanwhile
            continue
        if (not names or name in names) and str(private.directory) in place + words:
            found.append(int(process.name))
    return found


def _idle(private: PrivateCluster) -> list[str]:
    return private.run("sinfo", "--noheader", "--Node", "--responding", "--states=idle", "--format=%N").split()


def _boot_time(config: str) -> str:
    return next(line for line in config.splitlines() if line.startswith("BOOT_TIME"))
