"""Horovod's elastic mode: work goes on when a rank is lost, and with more ranks when a host comes.

As a script it is that work: `python test_elastic.py FOLDER MODE`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from launchers import plain_environment, require_horovod, run_command
from torch import nn

from hpc_sr.comm.communicator import Comm
from hpc_sr.comm.launch import run_on_ranks
from hpc_sr.comm.options import CommOptions
from hpc_sr.errors import RecipeError

STEPS = 40
#: How often a process alone looks for the second one before it gives up: a discovery script is asked every second.
PATIENCE = 1200
HOSTS = "#!/bin/sh\necho localhost:1\n{second}\n"


def train(folder: Path, comm: Comm, mode: str) -> str:
    """Take steps, each written down at once, and resume from them; return how it ended."""
    done = len(_steps(folder))
    _note(folder / "worlds", f"{comm.world_size} {comm.rank} {done}")
    torch.manual_seed(done + comm.rank)
    model = nn.Linear(4, 1)
    forward, optimizer = comm.distribute(model, torch.optim.SGD(model.parameters(), 0.01))
    waited = 0
    while done < STEPS:
        if mode == "lose" and done == 10 and comm.world_size == 2 and comm.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "fail" and done == 10 and comm.rank == comm.world_size - 1:
            raise RecipeError("a mistake of the user", cure="mend it")
        if mode == "grow" and done == 10 and comm.world_size == 1:
            (folder / "second_host").touch()
            waited += 1
            assert waited < PATIENCE, "no second host came"
        else:
            done += 1
        optimizer.zero_grad()
        forward(torch.ones(2, 4)).square().mean().backward()
        optimizer.step()
        if comm.rank == 0 and done > len(_steps(folder)):
            _note(folder / "steps", f"{done} {comm.world_size}")
        time.sleep(0.02)
        if comm.any(comm.world_changes):
            return "changed"
    return "finished"


def _steps(folder: Path) -> list[str]:
    return (folder / "steps").read_text().splitlines() if (folder / "steps").exists() else []


def _note(file: Path, line: str) -> None:
    with file.open("a") as stream:
        stream.write(f"{line}\n")


def launch(folder: Path, mode: str, second: str):
    """Return how the launch ended; `second` is the line of the discovery script that tells the second host."""
    hosts = folder / "hosts.sh"
    hosts.write_text(HOSTS.format(second=second))
    hosts.chmod(0o755)
    horovodrun = str(Path(sys.executable).with_name("horovodrun"))
    command = [
        horovodrun,
        "--gloo",
        "--network-interface",
        "lo",
        "-np",
        "1" if mode == "grow" else "2",
        "--min-np",
        "1",
        "--max-np",
        "2",
        "--host-discovery-script",
        str(hosts),
        sys.executable,
        __file__,
        str(folder),
        mode,
    ]
    return run_command(command, plain_environment(PYTHONPATH=os.pathsep.join(sys.path)))


def check(done, folder: Path) -> tuple[list[list[str]], list[list[str]]]:
    """Return the worlds (size, rank, steps done before) and steps (number, size), each step taken once, in order."""
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    assert "finished" in done.stdout
    worlds, steps = (
        [line.split() for line in (folder / name).read_text().splitlines()] for name in ("worlds", "steps")
    )
    assert [int(number) for number, _ in steps] == list(range(1, STEPS + 1))
    return worlds, steps


def test_one_of_two_goes_on_alone_when_the_other_is_killed(tmp_path: Path) -> None:
    require_horovod()
    worlds, steps = check(launch(tmp_path, "lose", "echo 127.0.0.1:1"), tmp_path)
    assert sorted(worlds) == [["1", "0", "10"], ["2", "0", "0"], ["2", "1", "0"]]
    assert [size for _, size in steps] == ["2"] * 10 + ["1"] * (STEPS - 10)


def test_a_host_that_comes_is_taken_in(tmp_path: Path) -> None:
    require_horovod()
    second = f"test -e {tmp_path / 'second_host'} && echo 127.0.0.1:1"
    worlds, steps = check(launch(tmp_path, "grow", f"{second}\nexit 0"), tmp_path)
    assert sorted(worlds) == [["1", "0", "0"], ["2", "0", "10"], ["2", "1", "10"]]
    assert [size for _, size in steps] == ["1"] * 10 + ["2"] * (STEPS - 10)


def test_a_mistake_ends_an_elastic_run_too(tmp_path: Path) -> None:
    require_horovod()
    done = launch(tmp_path, "fail", "echo 127.0.0.1:1")
    assert done.returncode != 0 and "a mistake of the user" in done.stderr, done.stderr[-6000:]
    assert "mend it" in done.stderr


def test_an_elastic_world_is_horovods(monkeypatch: pytest.MonkeyPatch) -> None:
    require_horovod()
    monkeypatch.setenv("HOROVOD_ELASTIC", "1")
    with pytest.raises(RecipeError, match=r"comm\.backend: is ddp"):
        run_on_ranks(lambda comm: None, CommOptions(backend="ddp"))


def main() -> None:
    folder, mode = Path(sys.argv[1]), sys.argv[2]
    print(run_on_ranks(lambda comm: train(folder, comm, mode), CommOptions(stall_s=30)), flush=True)


if __name__ == "__main__":
    main()
