"""What becomes of a training job that is stopped, killed, cancelled or wrong: seven jobs, all at the same time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from support import TinyWorld

from .private_cluster import PROJECT, Job, PrivateCluster
from .test_env import job_script
from .training_job import Training, wait_until

_ENDLESS = "schedule.total_samples=100000000"


def at_the_time_limit(cluster: PrivateCluster, tiny: TinyWorld) -> Training:
    """Slurm itself sends USR1, and the ranks stand still until it is there, however slow the machine is."""
    training = Training.submit(cluster, tiny, "time", options=["--time=60", "--signal=USR1@60"])
    ranks = training.wait_for_checkpoint()
    for rank in ranks:
        with suppress(ProcessLookupError):
            os.kill(rank, signal.SIGSTOP)
    _limit(training, minutes_more=2)
    wait_until(lambda: all(map(_has_been_signalled, ranks)))
    _limit(training, minutes_more=60)
    for rank in ranks:
        with suppress(ProcessLookupError):
            os.kill(rank, signal.SIGCONT)
    return training


def on_demand(cluster: PrivateCluster, tiny: TinyWorld) -> Training:
    training = Training.submit(cluster, tiny, "signal")
    training.wait_for_checkpoint()
    cluster.run("scancel", "--signal=USR1", str(training.number))
    return training


def by_a_lost_rank(cluster: PrivateCluster, tiny: TinyWorld) -> Training:
    training = Training.submit(cluster, tiny, "killed")
    os.kill(training.wait_for_checkpoint()[1], signal.SIGKILL)
    return training


def by_scancel(cluster: PrivateCluster, tiny: TinyWorld) -> Training:
    training = Training.submit(cluster, tiny, "cancelled", args=[_ENDLESS])
    training.wait_for_checkpoint()
    cluster.run("scancel", str(training.number))
    return training


def by_an_error_of_the_user(cluster: PrivateCluster, tiny: TinyWorld) -> Training:
    return Training.submit(cluster, tiny, "wrong", args=["store=nowhere"])


def by_failing_always(cluster: PrivateCluster, tiny: TinyWorld) -> Training:
    broken = tiny.recipe.parent / "broken"
    broken.mkdir()
    (broken / "typer.py").write_text("raise SystemExit(7)\n")
    return Training.submit(cluster, tiny, "failing", env={"PYTHONPATH": str(broken), "HPC_SR_RETRIES": "1"})


def without_requeue(cluster: PrivateCluster, tiny: TinyWorld) -> Training:
    training = Training.submit(cluster, tiny, "allowed-once", args=[_ENDLESS], options=["--no-requeue"])
    training.wait_for_checkpoint()
    cluster.run("scancel", "--signal=USR1", str(training.number))
    return training


@pytest.fixture(scope="module")
def ended(cluster: PrivateCluster, tiny: TinyWorld) -> dict[Callable[..., Training], tuple[Training, Job]]:
    """Every way of ending, with its job once that is over for good."""

    def follow(way: Callable[..., Training]) -> tuple[Training, Job]:
        training = way(cluster, tiny)
        return training, cluster.wait(training.number)

    ways = [
        at_the_time_limit,
        on_demand,
        by_a_lost_rank,
        by_scancel,
        by_an_error_of_the_user,
        by_failing_always,
        without_requeue,
    ]
    with ThreadPoolExecutor(len(ways)) as pool:
        return dict(zip(ways, pool.map(follow, ways), strict=True))


@pytest.mark.parametrize("way", [at_the_time_limit, on_demand, by_a_lost_rank])
def test_an_interrupted_job_comes_back_and_learns_the_same(
    ended: dict[Callable[..., Training], tuple[Training, Job]], unbroken: Training, way: Callable[..., Training]
) -> None:
    training, job = ended[way]
    assert (job.state, job.exit_code) == ("COMPLETED", 0), job.output
    assert job.restarts == 1, job.output
    assert "(restarts: 1)" in job.output and "resumed from" in job.output
    reason = "failed with exit code" if way is by_a_lost_rank else "stopped by a signal after a checkpoint"
    assert job.output.count(f"train_s2x2: {reason}") == 1
    assert training.learnt_the_same_as(unbroken)


def test_a_cancelled_job_does_not_come_back(ended: dict[Callable[..., Training], tuple[Training, Job]]) -> None:
    training, job = ended[by_scancel]
    assert (job.state, job.restarts) == ("CANCELLED", 0)
    assert "back in the queue" not in job.output
    assert not training.ranks() and not _notes_of(training.number)


def test_an_error_of_the_user_is_not_tried_again(ended: dict[Callable[..., Training], tuple[Training, Job]]) -> None:
    training, job = ended[by_an_error_of_the_user]
    assert (job.state, job.exit_code, job.restarts) == ("FAILED", 2, 0), job.output
    assert "manifest.json" in job.output and not _notes_of(training.number)


def test_a_job_that_always_fails_is_given_up(ended: dict[Callable[..., Training], tuple[Training, Job]]) -> None:
    _, job = ended[by_failing_always]
    assert (job.state, job.restarts) == ("FAILED", 1), job.output
    assert job.exit_code not in (0, 2, 75)
    assert "1 in a row" in job.output and "2 in a row" in job.output


def test_where_requeueing_is_not_allowed_the_job_says_how_to_go_on(
    ended: dict[Callable[..., Training], tuple[Training, Job]],
) -> None:
    _, job = ended[without_requeue]
    assert (job.state, job.exit_code, job.restarts) == ("FAILED", 75, 0), job.output
    assert "not put back into the queue (cure: the same sbatch command" in job.output


#: What ranks of a job do that is there for signals only: they say that they are there, and wait.
_RANK = """#!/bin/bash
[ -z "$SLURM_RESTART_COUNT" ] || exit 0
trap '{on_term}' TERM
trap 'exit 75' USR1 USR2 INT
touch "{folder}/rank-$SLURM_PROCID"
while :; do sleep 0.1; done
"""


#: What ranks do about TERM, and the signals of scancel: one rank tells its code, the other is only ended by SIGKILL.
_CANCELLED = ('test "$SLURM_PROCID" != 0 || exit 75', "")
_PASSED_ON = [("", how) for how in ("--batch --signal=USR1", "--batch --signal=INT", "--full --signal=USR2")]


@pytest.fixture(scope="module")
def signalled(cluster: PrivateCluster, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Job]:
    """How jobs on two nodes ended that have been signalled while their ranks were there."""
    ways = [_CANCELLED, *_PASSED_ON]
    with ThreadPoolExecutor(len(ways)) as pool:
        jobs = pool.map(lambda way: _signalled(cluster, tmp_path_factory.mktemp("signalled"), *way), ways)
        return dict(zip(ways, jobs, strict=True))


def _signalled(cluster: PrivateCluster, folder: Path, on_term: str, signals: str) -> Job:
    rank = folder / "rank.sh"
    rank.write_text(_RANK.format(on_term=on_term, folder=folder))
    rank.chmod(0o755)
    script = job_script(folder, f"launch_until_done {rank}")
    number = cluster.enqueue(script, options=["--nodes=2", "--requeue", "--open-mode=append"])
    wait_until(lambda: len(list(folder.glob("rank-?"))) == 2)
    cluster.run("scancel", *signals.split(), str(number))
    return cluster.wait(number)


def test_what_is_noted_of_a_cancelled_job_is_gone_although_its_ranks_outlive_the_script(
    signalled: dict[tuple[str, str], Job],
) -> None:
    """One rank has told its code, and another is only ended by SIGKILL, as is then the job script."""
    job = signalled[_CANCELLED]
    assert (job.state, job.restarts) == ("CANCELLED", 0), job.output
    assert not _notes_of(job.number)


@pytest.mark.parametrize("way", _PASSED_ON, ids=lambda way: way[1])
def test_a_signal_to_the_job_script_is_passed_on_to_the_ranks(
    signalled: dict[tuple[str, str], Job], way: tuple[str, str]
) -> None:
    job = signalled[way]
    assert (job.state, job.restarts) == ("COMPLETED", 1), job.output
    assert "stopped by a signal after a checkpoint" in job.output and not _notes_of(job.number)


#: Rank 0 ends by a user's error; the other, which srun ends for it, has nothing to save and would come back.
_USER_ERROR = """#!/bin/bash
trap 'exit 75' TERM
touch "{folder}/rank-$SLURM_PROCID"
while [ "$SLURM_PROCID" != 0 ] || [ ! -e "{folder}/rank-1" ]; do sleep 0.1; done
exit 2
"""


def test_a_rank_that_is_ended_for_a_users_error_does_not_hide_it(cluster: PrivateCluster, tmp_path: Path) -> None:
    rank = tmp_path / "rank.sh"
    rank.write_text(_USER_ERROR.format(folder=tmp_path))
    rank.chmod(0o755)
    script = job_script(tmp_path, f"launch_until_done {rank}")
    job = cluster.wait(cluster.enqueue(script, options=["--nodes=2", "--requeue", "--open-mode=append"]))
    assert (job.state, job.exit_code, job.restarts) == ("FAILED", 2, 0), job.output
    assert not _notes_of(job.number)


def _limit(training: Training, minutes_more: int) -> None:
    """Let a job's time be over so many minutes from now."""
    hours, minutes, _ = training.cluster.facts(training.number)["RunTime"].split(":")
    limit = 60 * int(hours) + int(minutes) + minutes_more
    training.cluster.run("scontrol", "update", f"JobId={training.number}", f"TimeLimit={limit}")


def _has_been_signalled(process: int) -> bool:
    """Return whether a stopped process has USR1 yet to take, or has gone on and ended meanwhile."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return True
    pending = int(next(line for line in lines if line.startswith("ShdPnd")).split()[1], 16)
    return bool(pending & 1 << (signal.SIGUSR1 - 1))


def _notes_of(number: int) -> list[Path]:
    """Return what the job has left in the project's root."""
    return list(PROJECT.glob(f".code-*-{number}"))
