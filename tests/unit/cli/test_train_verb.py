"""`hpc-sr train`: what it prints and draws without training, and the codes it ends with."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from support import TinyWorld, run_cli

from hpc_sr.recipe import load_recipe


def test_a_drawn_schedule_trains_nothing(tiny: TinyWorld, tmp_path):
    picture = tmp_path / "rate.png"
    assert not run_cli("train", tiny.recipe, "name=drawn", "--plot-schedule", picture, "--ranks", 2)
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert not (tiny.recipe.parent / "runs" / "drawn").exists()
    assert run_cli("train", tiny.recipe, "--plot-schedule", tmp_path / "no" / "rate.png") == 2


def test_derived_numbers_are_of_the_ranks_asked_for(tiny: TinyWorld, capsys):
    for ranks in (1, 3):
        assert not run_cli("train", tiny.recipe, "--print-recipe", "--ranks", ranks)
        numbers = json.loads(capsys.readouterr().out.split("# derived\n")[1])
        assert (numbers["world_size"], numbers["global_batch_size"]) == (ranks, 16 * ranks)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_with_75_and_the_next_run_goes_on_and_is_reported(tiny: TinyWorld, capsys, number):
    name = f"stopped_by_{int(number)}"
    run = tiny.recipe.parent / "runs" / name
    never = [f"train.{what}_every_steps=1000000" for what in ("evaluate", "checkpoint")]  # the best are kept, too
    long = ["schedule.total_samples=3200000", "train.log_every_steps=1", *never]
    stopper = threading.Thread(target=signal_once_training, args=(run, number))
    stopper.start()
    assert run_cli("train", tiny.recipe, f"name={name}", *long) == 75
    stopper.join()
    assert "run again to go on" in capsys.readouterr().out
    stopped = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    (checkpoint,) = (run / "checkpoints").glob("step_*")
    assert int(checkpoint.name[5:]) == stopped["step"]
    more = f"schedule.total_samples={stopped['samples'] + 3 * 16}"
    assert not run_cli("train", tiny.recipe, f"name={name}", more)
    assert f"step {stopped['step'] + 3}, finished" in capsys.readouterr().out
    assert not run_cli("report", run)
    page = (run / "report.html").read_text()
    assert "resumed" in page and "1 ×" in page and "Where a rank&#39;s time goes" in page


def signal_once_training(run: Path, number: int) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        if (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").stat().st_size:
            break
        time.sleep(0.05)
    os.kill(os.getpid(), number)


def test_a_finished_run_ends_with_0_and_a_mistake_with_2(tiny: TinyWorld):
    recipe = load_recipe(tiny.recipe)
    assert not run_cli("train", tiny.recipe, "name=ends", "schedule.total_samples=32")
    assert run_cli("train", tiny.recipe, "name=ends", f"store={recipe.store}/none") == 2
