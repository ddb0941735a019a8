"""Ranks meet, or end soon: a peer that is absent, a port that is taken, a signal in between."""

from __future__ import annotations

import importlib.util
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from launchers import plain_environment, ranks_environment, require_horovod, require_launcher, run_command
from support import TinyWorld, require

from hpc_sr.comm.launchers import describe_launch

SCRIPT = Path(__file__).with_name("comm_contract.py")
HPC_SR = Path(sys.executable).with_name("hpc-sr")
#: More than a rank needs to load its libraries on any machine; no test waits for so long.
LIMIT_S = 150


def step(number: int, rank: int, **changes: str) -> dict[str, str]:
    """Return the environment of one of the two ranks of a Slurm step on this host, without MPI."""
    ours = {"SLURM_JOB_ID": f"{number}", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1"}
    return plain_environment(**ours, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank), **changes)


@pytest.fixture
def number() -> int:
    """The number of a step at whose first two ports nobody listens."""
    for number in range(time.monotonic_ns() % 10**9, 10**10):
        ports = describe_launch(step(number, 0)).rendezvous.ports[:2]
        if not any(answers(port) for port in ports):
            return number
    raise AssertionError


def answers(port: int) -> bool:
    with socket.socket() as visitor:
        return visitor.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def foreign() -> Iterator[Callable[[int, bytes], threading.Event]]:
    """Return a function that lets a server of somebody else's listen at a port, and its event: somebody has come.

    It says the words and then holds the line.
    """
    servers, lines = [], []

    def listen(port: int, words: bytes) -> threading.Event:
        server, visited = socket.create_server(("127.0.0.1", port)), threading.Event()
        servers.append(server)

        def serve() -> None:
            while True:
                try:
                    line, _ = server.accept()
                except OSError:
                    return
                lines.append(line)
                if words:
                    line.sendall(words)
                visited.set()

        threading.Thread(target=serve, daemon=True).start()
        return visited

    yield listen
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
    for opened in (*servers, *lines):
        opened.close()


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts a command in an environment."""
    begun = []

    def begin(command: list[str], environ: dict[str, str]) -> subprocess.Popen[str]:
        begun.append(subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def meet(backend: str, stall_s: float) -> list[str]:
    if backend == "horovod":
        require_horovod()
    return [sys.executable, str(SCRIPT), backend, "ranks", json.dumps({"stall_s": stall_s})]


def ending(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, told = process.communicate(timeout=LIMIT_S)
    return process.returncode, out + told


@pytest.mark.parametrize(
    ("backend", "rank", "words"),
    [("ddp", 0, None), ("horovod", 0, None), ("horovod", 1, None), ("ddp", 1, b""), ("ddp", 1, b"SSH-2.0-OpenSSH\r\n")],
    ids=["ddp-0-absent", "horovod-0-absent", "horovod-1-absent", "ddp-1-mute", "ddp-1-another"],
)
def test_a_rank_alone_ends_when_its_patience_does(number, foreign, start, backend: str, rank: int, words) -> None:
    if words is not None:
        foreign(describe_launch(step(number, rank)).rendezvous.ports[0], words)
    code, told = ending(start(meet(backend, 3), step(number, rank)))
    assert code == 1, told
    assert "in the meeting of the ranks at 127.0.0.1:" in told or "has lost the others in their meeting" in told
    assert "cure: look at the other ranks' last lines" in told and "MASTER_PORT" in told, told


@pytest.mark.parametrize(
    ("backend", "words"),
    [("ddp", b""), ("horovod", b"hpc_sr srun 1.0.0 4711\n")],
    ids=["ddp-mute", "horovod-another-launch"],
)
def test_a_port_that_is_taken_moves_both_ranks(number, foreign, start, backend: str, words: bytes) -> None:
    visited = foreign(describe_launch(step(number, 0)).rendezvous.ports[0], words)
    both = [start(meet(backend, 100), step(number, rank)) for rank in range(2)]
    for rank, process in enumerate(both):
        code, told = ending(process)
        assert code == 0 and f"{backend} of 2: rank {rank} done" in told, told
    assert visited.is_set()


def test_a_given_port_that_is_taken_fails_on_both_ranks(number, foreign, start) -> None:
    port = describe_launch(step(number, 0)).rendezvous.ports[0]
    foreign(port, b"")
    both = [start(meet("ddp", 5), step(number, rank, MASTER_PORT=str(port))) for rank in range(2)]
    (first, told_first), (second, told_second) = map(ending, both)
    assert first != 0 and f"rank 0 cannot listen at port {port} of" in told_first and "cure: " in told_first
    assert second == 1 and f"at 127.0.0.1:{port}" in told_second and "MASTER_PORT" in told_second


@pytest.mark.parametrize(("rank", "number_of_signal"), [(0, signal.SIGTERM), (1, signal.SIGUSR1), (1, signal.SIGINT)])
def test_a_signal_ends_a_rank_that_waits_for_the_others(
    number, foreign, start, tiny: TinyWorld, rank: int, number_of_signal: signal.Signals
) -> None:
    port = describe_launch(step(number, rank)).rendezvous.ports[0]
    visited = foreign(port, b"") if rank == 1 else None
    process = start([str(HPC_SR), "train", str(tiny.recipe), "name=never"], step(number, rank))
    until = time.monotonic() + LIMIT_S
    while not (visited.is_set() if visited else answers(port)):
        assert time.monotonic() < until and process.poll() is None, ending(process)
        time.sleep(0.05)
    process.send_signal(number_of_signal)
    code, told = ending(process)
    assert code == 75 and told == f"stopped by {number_of_signal.name}, with nothing to save yet: run again to go on\n"


#: Rank 1 never starts what rank 0 waits for.
HALF = """
import os, sys, time
sys.path[:0] = {path!r}
if os.environ["OMPI_COMM_WORLD_RANK"] == "1":
    time.sleep(1000)
{code}
"""
STARTS = {
    "horovod": "from hpc_sr.comm.launch import connect\nfrom hpc_sr.comm.options import CommOptions\n"
    "connect(CommOptions(backend='horovod', stall_s=3))",
    "mpi4py": "from hpc_sr.comm.mpi import mpi_world\nmpi_world(patience_s=3)",
}


@pytest.mark.parametrize("library", STARTS)
def test_a_rank_that_never_starts_mpi_ends_the_others(library: str, tmp_path: Path) -> None:
    require_launcher("mpirun")
    require(importlib.util.find_spec(library), f"{library} is not installed")
    command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", "2", sys.executable, "-c"]
    done = run_command([*command, HALF.format(path=sys.path, code=STARTS[library])], ranks_environment(), LIMIT_S)
    assert done.returncode == 1, done.stderr
    told = {"horovod": "[rank 0 of 2] has waited 3 s in the meeting of the ranks", "mpi4py": "Timeout (0:00:03)!"}
    assert told[library] in done.stderr, done.stderr
