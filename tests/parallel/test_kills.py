"""Runs end at random moments; each goes on, and the last weights are those of an unbroken run.

HPC_SR_KILLS=300 pytest -s tests/parallel/test_kills.py ends that many runs, and tells how each ended.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from launchers import PATIENCE_S, launch_command, processes_of, ranks_environment, require_horovod, require_launcher
from support import TinyWorld

from hpc_sr.weights.folder import find_checkpoint

HPC_SR = Path(sys.executable).with_name("hpc-sr")
#: Ranks by what starts them; "alone" is the command itself.
RANKS = {"mpirun": 2, "torchrun": 2, "alone": 1}
#: Under torchrun a critic learns too, whose weights and moments must come back as well.
CRITIC = ["objective.method=adversarial", "objective.loss=wgan_gp", "objective.best_by=rmse"]
CRITIC += ["objective.critic.family=s2d_light", "objective.critic.width=16", "objective.critic_steps=2"]
OBJECTIVES = {"torchrun": CRITIC}
#: Enough of them to be ended three times in the middle; with a critic they are slow.
STEPS = {"mpirun": 400, "torchrun": 160, "alone": 400}
#: Half of the runs are killed, the others are asked to stop.
SIGNALS = [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP]
MOMENTS = ("starting", "training", "saving")
#: How many runs of each launcher are ended: one at each moment, or its part of as many as are asked for.
KILLS = math.ceil(int(os.environ.get("HPC_SR_KILLS", len(RANKS) * len(MOMENTS))) / len(RANKS))


@dataclass
class Attempt:
    """One start of a run; its processes carry `mark` in their environment."""

    process: subprocess.Popen[str]
    mark: str
    run: Path
    steps: int

    def ranks(self) -> list[int]:
        """Return the process ids of the ranks that are there."""
        return processes_of(HPC_SR, f"KILLED={self.mark}")

    def lines(self) -> int:
        """Return how many lines the diary has."""
        diary = self.run / "metrics.jsonl"
        return len(diary.read_text().splitlines()) if diary.exists() else 0


def start(launcher: str, recipe: Path, name: str) -> Attempt:
    mark = uuid.uuid4().hex
    often = ["train.log_every_steps=1", "train.evaluate_every_steps=20", "train.checkpoint_every_steps=5"]
    args = ["train", str(recipe), f"name={name}", f"train.batch_size_per_rank={16 // RANKS[launcher]}", *often]
    args += [f"schedule.total_samples={16 * STEPS[launcher]}", "schedule.decay=cosine", "train.ema_samples=400"]
    args += OBJECTIVES.get(launcher, [])
    command = [sys.executable, str(HPC_SR), *args] if launcher == "alone" else launch_command(launcher, HPC_SR, args)
    process = subprocess.Popen(
        command,
        env=ranks_environment(KILLED=mark),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    return Attempt(process, mark, recipe.parent / "runs" / name, STEPS[launcher])


def finish(attempt: Attempt, timeout_s: float = PATIENCE_S) -> tuple[int, str]:
    """Return the exit code and all that was said; no process of the attempt is left."""
    try:
        told, _ = attempt.process.communicate(timeout=timeout_s)
    finally:
        if attempt.process.poll() is None:
            os.killpg(attempt.process.pid, signal.SIGKILL)
            attempt.process.communicate()
    deadline = time.monotonic() + PATIENCE_S
    while attempt.ranks():
        assert time.monotonic() < deadline, f"ranks {attempt.ranks()} outlived their launcher:\n{told}"
        time.sleep(0.1)
    return attempt.process.returncode, told


def wait_for(moment: str, attempt: Attempt, dice: random.Random) -> None:
    """Return at a moment of this kind, or when the attempt has ended."""
    if moment == "starting":
        wait_until(attempt, lambda: bool(attempt.ranks()))
        time.sleep(3 * dice.random())
        return
    rank_log = attempt.run / "log" / "rank_0000.log"
    before = rank_log.stat().st_size if rank_log.exists() else 0

    def trains() -> bool:
        said = rank_log.read_text()[before:] if rank_log.exists() else ""
        return "loss" in said or "nothing to do" in said  # the one before was killed after its last checkpoint

    wait_until(attempt, trains)
    time.sleep(dice.random())
    if moment == "saving":
        ranks = attempt.ranks()
        wait_until(attempt, lambda: saves(attempt.run, ranks))


def wait_until(attempt: Attempt, happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while attempt.process.poll() is None and not happens():
        if time.monotonic() > deadline:
            raise AssertionError(f"it waits for ever:\n{finish(attempt)}")
        time.sleep(0.002)


def saves(run: Path, ranks: list[int]) -> bool:
    """Return whether one of these processes is writing a checkpoint; what killed ones left is none."""
    return any(path.name.endswith(f"-{rank}.partial") for path in run.glob("checkpoints/.*") for rank in ranks)


def end(attempt: Attempt, kind: signal.Signals, dice: random.Random) -> None:
    """End one rank, or warn both at different times."""
    ranks = attempt.ranks()
    if kind == signal.SIGKILL and ranks:
        strike(dice.choice(ranks), kind)
        return
    for pid in dice.sample(ranks, len(ranks)):
        threading.Timer(dice.random() * 0.3, strike, (pid, kind)).start()


def strike(pid: int, kind: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # the others took it along
        os.kill(pid, kind)


def tensors(attempt: Attempt) -> dict[str, torch.Tensor]:
    """Return everything in the last checkpoint: weights used and trained, moments, the ranks' random numbers.

    Of every network: a critic, where there is one, learns beside the generator.
    """
    folder = attempt.run / "checkpoints" / f"step_{attempt.steps:08d}"
    training = torch.load(folder / "training.pt", weights_only=True)
    parts = training["parts"]
    moments, trained = {}, {}
    for player in [name.removesuffix(".optimizer") for name in parts if name.endswith(".optimizer")]:
        state = parts[f"{player}.optimizer"]["state"]
        moments |= {f"{player}.{k}.{n}": v for k, one in state.items() for n, v in one.items()}
        trained |= {f"trained.{player}.{name}": value for name, value in parts[player].items()}
    rng = {f"random.{rank}": state["cpu"] for rank, state in enumerate(training["of_ranks"]["random"])}
    assert moments and trained and rng
    return {**torch.load(folder / "generator.pt", weights_only=True), **trained, **moments, **rng}


#: The last checkpoint of a run, its validation lines, and which checkpoint is the best.
Ended = tuple[dict[str, torch.Tensor], list[dict], str]


def unbroken(launcher: str, recipe: Path) -> Ended:
    """Return how a run ended that nothing broke."""
    attempt = start(launcher, recipe, f"unbroken-{launcher}")
    code, told = finish(attempt)
    assert code == 0, told
    return tensors(attempt), validations(attempt.run), find_checkpoint(attempt.run).name


def validations(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "validation"]


@pytest.mark.parametrize("launcher", RANKS)
def test_runs_ended_at_random_moments_lead_to_the_weights_of_an_unbroken_one(tiny: TinyWorld, launcher: str) -> None:
    if launcher != "alone":
        require_launcher(launcher)
    if launcher == "mpirun":
        require_horovod()
    expected = unbroken(launcher, tiny.recipe)
    seed = random.SystemRandom().randrange(10**6)
    dice = random.Random(seed)
    story, killed, complete = [f"seed {seed}"], 0, 0
    while killed < KILLS:
        # One that came to its end before it was ended is as good as any, and another begins.
        attempt = start(launcher, tiny.recipe, f"killed-{launcher}-{complete}")
        moment = MOMENTS[(killed + complete) % len(MOMENTS)]
        wait_for(moment, attempt, dice)
        how = dice.choice([signal.SIGKILL, dice.choice(SIGNALS)])
        while_saving = saves(attempt.run, attempt.ranks())
        end(attempt, how, dice)
        code, told = finish(attempt)
        told_of = f"{how.name} while {moment}{', at a checkpoint' if while_saving else ''}"
        story.append(f"{launcher}: {told_of}, line {attempt.lines()}: exit code {code}")
        print(story[-1], flush=True)
        if code == 0:
            check_complete(attempt, expected, story)
            complete += 1
            assert complete <= KILLS, story
            continue
        killed += 1
        # A rank that has only just been started has not yet been told to listen.
        if how != signal.SIGKILL and moment != "starting":
            assert launcher == "torchrun" or code == 75, (story, told)
            assert "stopped by a signal" in told, (story, told)
    attempt = start(launcher, tiny.recipe, attempt.run.name)
    code, told = finish(attempt)
    assert code == 0, (story, told)
    check_complete(attempt, expected, story)


def check_complete(
    attempt: Attempt, unbroken: tuple[dict[str, torch.Tensor], list[dict], str], story: list[str]
) -> None:
    """Check that a run came to the same end as the unbroken one, to the bit, and to the same choice of the best."""
    expected, scores, best = unbroken
    ours = tensors(attempt)
    assert ours.keys() == expected.keys(), story
    assert all(torch.equal(ours[name], expected[name]) for name in ours), story
    assert validations(attempt.run) == scores, story
    assert find_checkpoint(attempt.run).name == best, story
