"""Ctrl-C and signals to a launcher itself: its ranks save a checkpoint, whatever it makes of the signal."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from launchers import launch_command, ranks_environment, require_launcher
from support import TinyWorld
from terminal import Terminal

import hpc_sr.__main__
from hpc_sr.weights.folder import find_checkpoint
from hpc_sr.weights.trained import load_trained


@pytest.mark.parametrize(("launcher", "code"), [("torchrun", 1), ("mpirun", 75)])
def test_a_launcher_that_is_told_to_stop_leaves_a_checkpoint(tiny: TinyWorld, launcher: str, code: int) -> None:
    require_launcher(launcher)
    run = tiny.recipe.parent / "runs" / f"pressed-{launcher}"
    words = ["train", str(tiny.recipe), f"name={run.name}", "schedule.total_samples=100000000"]
    words += ["train.batch_size_per_rank=8", "train.log_every_steps=1", "comm.backend=ddp"]
    words += [f"train.{what}_every_steps=1000000" for what in ("evaluate", "checkpoint")]
    command = launch_command(launcher, Path(hpc_sr.__main__.__file__), words)
    running = Terminal(command, env=ranks_environment())
    metrics = run / "metrics.jsonl"
    running.until(lambda: metrics.exists() and metrics.read_text())
    if launcher == "mpirun":  # Ctrl-C leaves its ranks a second, which may be too short
        running.process.send_signal(signal.SIGUSR1)
    else:
        running.press_ctrl_c()
    ended, said = running.end()
    assert ended == code, said
    last = json.loads(metrics.read_text().splitlines()[-1])["step"]
    assert load_trained(find_checkpoint(run)).card.step == last, said
