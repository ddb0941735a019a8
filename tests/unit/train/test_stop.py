"""Signals that ask a process to stop: before, while and after there is something to save."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support import TinyWorld

from hpc_sr.comm.signals import ignore_signals
from hpc_sr.train import stop as stop_module
from hpc_sr.train.stop import StopFlag

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU]
#: A process that hears signals, and can stand still in compiled code that gives Python's own handlers no turn.
BEGIN = """
import ctypes, os, signal, sys, time
from hpc_sr.comm.signals import ignore_signals
from hpc_sr.train.stop import keep_signals
def stand_still():
    print("standing", flush=True)
    mutex = ctypes.create_string_buffer(64)
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(mutex)
def wait_for(stop):
    while not stop.requested:
        time.sleep(0.01)
stop = keep_signals()
"""


@pytest.fixture
def begin() -> Iterator[Callable[..., subprocess.Popen]]:
    """Return a function that starts the code in a process of its own and waits for its first line."""
    begun = []

    def start(code: str, **options: object) -> subprocess.Popen:
        command = [sys.executable, "-c", BEGIN + code]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
        begun.append(process)
        assert process.stdout.readline()
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def ending(process: subprocess.Popen) -> tuple[int, str]:
    _, told = process.communicate(timeout=600)
    return process.returncode, told


@pytest.mark.parametrize("number", SIGNALS)
def test_with_nothing_to_save_a_signal_ends_the_process_wherever_it_is(begin, number: signal.Signals) -> None:
    process = begin("stand_still()")
    process.send_signal(number)
    assert ending(process) == (75, f"stopped by {number.name}, with nothing to save yet: run again to go on\n")


@pytest.mark.parametrize("number", SIGNALS)
def test_with_something_to_save_a_signal_raises_the_flag_and_late_ones_do_nothing(begin, number) -> None:
    code = """
with stop.kept():
    print("kept", flush=True)
    wait_for(stop)
    stop.requested = False
os.kill(os.getpid(), int(sys.stdin.readline()))
wait_for(stop)
ignore_signals()
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU):
    os.kill(os.getpid(), number)
sys.exit(3)
"""
    process = begin(code, stdin=subprocess.PIPE)
    process.send_signal(number)
    late = signal.SIGTERM if number == signal.SIGINT else number  # a second SIGINT is another matter
    _, told = process.communicate(f"{late:d}\n", timeout=600)
    assert process.returncode == 3 and "Traceback" not in told, told


def test_a_block_that_raises_leaves_nothing_to_save(begin) -> None:
    """A world of ranks that was lost: signals end the process while the next one is formed."""
    process = begin("try:\n with stop.kept():\n  1 / 0\nexcept ZeroDivisionError:\n stand_still()")
    process.send_signal(signal.SIGTERM)
    assert ending(process)[0] == 75


def test_a_second_interrupt_ends_the_process_at_once(begin) -> None:
    process = begin("with stop.kept():\n stand_still()")
    until = time.monotonic() + 600
    while process.poll() is None and time.monotonic() < until:
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    code, told = ending(process)
    assert code == 130, told
    first, last = told.splitlines()
    assert first == "SIGINT: stops after a checkpoint; once more ends it at once"
    assert last == "ended by a second SIGINT: run again to go on from the newest checkpoint"


def test_one_press_of_a_key_may_arrive_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_module, "_SAME_PRESS_S", 3600)
    flag = StopFlag()
    with flag.kept():
        flag.hear(signal.SIGINT)
        flag.hear(signal.SIGINT)
    assert flag.requested


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_what_was_ignored_from_the_start_stays_ignored(begin, number: signal.Signals) -> None:
    """As nohup does, and a shell with what it puts into the background."""
    process = begin("stand_still()", preexec_fn=lambda: signal.signal(number, signal.SIG_IGN))
    process.send_signal(number)
    process.send_signal(signal.SIGUSR2)
    assert ending(process) == (75, "stopped by SIGUSR2, with nothing to save yet: run again to go on\n")


def test_ignoring_without_having_heard_is_no_error(begin) -> None:
    assert ending(begin("ignore_signals()\nignore_signals()\nprint('well', flush=True)")) == (0, "")
    assert callable(ignore_signals)


def train(tiny: TinyWorld, name: str) -> list[str]:
    command = [sys.executable, "-m", "hpc_sr", "train", str(tiny.recipe), f"name={name}"]
    command += ["train.evaluate_every_steps=1000000", "train.checkpoint_every_steps=1000000"]
    return [*command, "schedule.total_samples=100000000", "train.log_every_steps=1"]


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGINT])
def test_a_signal_while_libraries_load_ends_training_at_once(tiny: TinyWorld, number: signal.Signals) -> None:
    process = subprocess.Popen(train(tiny, "early"), stderr=subprocess.PIPE, text=True)
    maps = Path(f"/proc/{process.pid}/maps")
    until = time.monotonic() + 600
    while "libtorch" not in maps.read_text():
        assert time.monotonic() < until and process.poll() is None
    process.send_signal(number)
    code, told = ending(process)
    assert (code, told.count("\n")) == (75, 1) and f"stopped by {number.name}, with nothing to save" in told, told
    assert not list((tiny.recipe.parent / "runs").glob("early/checkpoints/step_*"))


def test_an_interrupt_while_the_command_line_loads_leaves_no_traceback() -> None:
    """The first import of all is the one that is caught in the middle."""
    code = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "hpc_sr.cli":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from hpc_sr.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code, "train"], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR2])
def test_a_signal_in_the_middle_saves_and_stops(tiny: TinyWorld, number: signal.Signals) -> None:
    run = tiny.recipe.parent / "runs" / f"middle-{number.name}"
    process = subprocess.Popen(train(tiny, run.name), stderr=subprocess.PIPE, text=True)
    wait_for_steps(run, process)
    process.send_signal(number)
    code, told = ending(process)
    assert code == 75 and "Traceback" not in told, told
    assert len(list((run / "checkpoints").glob("step_*"))) == 1


def test_a_terminal_that_hangs_up_leaves_a_checkpoint(tiny: TinyWorld) -> None:
    run = tiny.recipe.parent / "runs" / "hung-up"
    ours, theirs = pty.openpty()
    # In a session of its own, with the terminal as its controlling one, as a login shell would have it.
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *train(tiny, run.name)], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    wait_for_steps(run, process, terminal=ours)
    os.close(ours)
    assert process.wait(timeout=600) == 75
    assert len(list((run / "checkpoints").glob("step_*"))) == 1


def wait_for_steps(run: Path, process: subprocess.Popen, terminal: int | None = None) -> None:
    """Return once a run has noted its first step; what it writes on a terminal is read."""
    if terminal is not None:
        os.set_blocking(terminal, False)
    until, said = time.monotonic() + 600, b""
    while not ((run / "metrics.jsonl").exists() and (run / "metrics.jsonl").read_text()):
        assert time.monotonic() < until and process.poll() is None, said
        if terminal is not None:
            with suppress(BlockingIOError):
                said += os.read(terminal, 1 << 16)
        time.sleep(0.01)
