"""Ctrl-C and SIGTERM: one line, the right code, nothing lost, and the same command again goes on."""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from made_networks import saved, trained
from support import TinyWorld, run_cli
from terminal import Terminal

from hpc_sr.tasks import S2X
from hpc_sr.weights.folder import find_checkpoint
from hpc_sr.weights.trained import load_trained

_HPC_SR = [sys.executable, "-m", "hpc_sr"]


@pytest.mark.parametrize("verb", ["prepare", "infer", "evaluate"])
def test_a_command_that_keeps_what_is_finished_ends_at_once(tiny: TinyWorld, tmp_path: Path, verb: str) -> None:
    network = saved(tmp_path / "network", trained(S2X, 16))
    command = {
        "prepare": ["prepare", tiny.recipe, f"store={tmp_path / 'out'}"],
        "infer": ["infer", network, tiny.products[1], "--out", tmp_path / "out.tif"],
        "evaluate": ["evaluate", network, "--product", tiny.products[1], "--json", tmp_path / "out.json"],
    }[verb]
    for number, after_s in ((signal.SIGTERM, 0.0), (signal.SIGINT, random.uniform(0.1, 3))):
        running = Terminal([*_HPC_SR, *command])
        running.until_it_hears()
        time.sleep(after_s)
        running.press_ctrl_c() if number == signal.SIGINT else running.process.send_signal(number)
        code, said = running.end()
        assert code == 128 + number or (after_s and code == 0), (after_s, said)
        assert said.count(f"ended by {number.name}: the same command again goes on") == (code != 0), (after_s, said)
        assert "Traceback" not in said, (after_s, said)
    assert not run_cli(*command)
    assert list(tmp_path.glob("out*"))


def test_an_interrupt_while_a_checkpoint_is_saved_loses_nothing(tiny: TinyWorld) -> None:
    run = tiny.recipe.parent / "runs" / "pressed"
    endless = ["schedule.total_samples=100000000", "train.log_every_steps=1", "train.checkpoint_every_steps=1"]
    command = ["train", tiny.recipe, "name=pressed", "train.evaluate_every_steps=1000000"]
    running = Terminal([*_HPC_SR, *command, *endless])
    saved_to = run / "checkpoints"  # a busy machine may miss each of the short moments: the next best is between two
    running.until(lambda: any(saved_to.glob(".step_*")) or any(saved_to.glob("step_000002*")))
    running.press_ctrl_c()
    code, said = running.end()
    assert code == 75 and "Traceback" not in said, said
    assert said.count("SIGINT") == 1 and "\x1b[?25h" in said.split("SIGINT")[1]
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    newest = find_checkpoint(run)
    assert load_trained(newest).card.step == last
    assert not run_cli(*command, f"schedule.total_samples={16 * (last + 2)}", "--allow-change")
    assert load_trained(find_checkpoint(run)).card.step == last + 2


def test_an_interrupted_demo_starts_afresh_or_goes_on_and_says_which(shared_data: Path, tmp_path: Path) -> None:
    scenes = [shared_data / "scenes" / f"l1c_{name}.npz" for name in ("rajasthan_T43RCP_20200604", "malmo_T33UUB")]
    out = tmp_path / "demo"
    command = [*_HPC_SR, "demo", "--out", out, "--scene", scenes[0]]
    for moment, says in (
        (lambda running: list(out.glob(".products.*")), "starting afresh"),
        (lambda running: (out / "store").exists(), "starting afresh"),
        (lambda running: "going on" in running.said, "going on with what is finished"),
    ):
        running = Terminal(command)
        running.until(lambda now=running, moment=moment: moment(now))
        running.press_ctrl_c()
        code, said = running.end()
        assert code == 130 and says in " ".join(said.split()) and "Traceback" not in said, said
    assert run_cli("demo", "--out", out, "--scene", scenes[1]) == 2
