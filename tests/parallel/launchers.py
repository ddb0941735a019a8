"""Start a script on several ranks of this host, with each launcher that the package knows."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from support import require

_BIN = Path(sys.executable).parent
#: Only what hangs takes as long, however busy the machine.
PATIENCE_S = 600.0
#: The command before `python script`, given the number of ranks.
_COMMANDS = {
    "mpirun": ("mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np", "{ranks}"),
    "horovodrun": (str(_BIN / "horovodrun"), "--mpi", "-np", "{ranks}", "-H", "localhost:{ranks}"),
    "horovodrun-gloo": (str(_BIN / "horovodrun"), "--gloo", "-np", "{ranks}", "-H", "localhost:{ranks}"),
    "torchrun": (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "{ranks}"),
}
LAUNCHERS = tuple(_COMMANDS)
#: What launchers leave in the environment of what they start.
_MARKS = ("OMPI_", "PMI", "MPI_", "SLURM_", "HOROVOD_", "TORCHELASTIC_", "MASTER_")
_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS")


def require_launcher(launcher: str) -> None:
    """Skip the test unless the launcher is installed, and Horovod with it if the launcher is Horovod's."""
    command = _COMMANDS[launcher][0]
    require(shutil.which(command), f"{Path(command).name} is not installed")
    if launcher == "horovodrun":
        require(shutil.which("mpirun"), "mpirun is not installed")


def require_horovod() -> None:
    """Skip the test unless Horovod is installed."""
    require(importlib.util.find_spec("horovod"), "horovod is not installed (make horovod)")


def plain_environment(**changes: str) -> dict[str, str]:
    """Return this process's environment without any launcher's marks, one thread a rank, and the changes."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_MARKS) and key not in _NAMES}
    return {**kept, "OMP_NUM_THREADS": "1", **changes}


def run_ranks(
    launcher: str,
    script: str | Path,
    args: Sequence[str] = (),
    *,
    ranks: int = 2,
    timeout_s: float = PATIENCE_S,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Return how `python script args` ended on so many ranks, with its standard output and error as text.

    `env` is added to an environment without an outer launcher's marks. Raises subprocess.TimeoutExpired, with all
    processes of the launch killed, if it takes longer than `timeout_s`.
    """
    return run_command(launch_command(launcher, script, args, ranks), ranks_environment(**(env or {})), timeout_s)


def launch_command(launcher: str, script: str | Path, args: Sequence[str] = (), ranks: int = 2) -> list[str]:
    """Return the command that starts `python script args` on so many ranks."""
    prefix = [part.format(ranks=ranks) for part in _COMMANDS[launcher]]
    # torch.distributed.run starts Python by itself.
    python = [] if launcher == "torchrun" else [sys.executable]
    return [*prefix, *python, str(script), *args]


def ranks_environment(**changes: str) -> dict[str, str]:
    """Return a plain environment in which more ranks than processors may run, as root too."""
    return plain_environment(
        # Ranks that wait let others run: with fewer processors than ranks they would otherwise starve each other.
        OMPI_ALLOW_RUN_AS_ROOT="1",
        OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
        OMPI_MCA_rmaps_base_oversubscribe="1",
        OMPI_MCA_mpi_yield_when_idle="1",
        PATH=f"{_BIN}{os.pathsep}{os.environ['PATH']}",
        **changes,
    )


def processes_of(program: Path, mark: str) -> list[int]:
    """Return the processes of a Python program that carry `mark`, a NAME=value, in their environment."""
    # The interpreter, perhaps with options, then the program: launchers name it among their arguments.
    return [
        process
        for process, command in _marked(mark)
        if str(program).encode() in command[:3] and b"python" in command[0]
    ]


def kill_all(mark: str, timeout_s: float = PATIENCE_S) -> None:
    """Kill all processes that carry `mark`, and return when none is left: ranks outlive their launcher."""
    deadline = time.monotonic() + timeout_s
    while alive := _marked(mark):
        assert time.monotonic() < deadline, f"cannot be killed: {alive}"
        for process, _ in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.02)


def _marked(mark: str) -> list[tuple[int, list[bytes]]]:
    """Return the processes that carry `mark` in their environment, each with its command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environ = (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        if mark.encode() in environ:
            found.append((int(process.name), command))
    return sorted(found)


def run_command(
    command: Sequence[str], environ: Mapping[str, str], timeout_s: float = PATIENCE_S
) -> subprocess.CompletedProcess[str]:
    """Return how a command ended; at the time limit all it has started is killed, in whatever session, and awaited."""
    mark = f"LAUNCH={uuid.uuid4().hex}"
    process = subprocess.Popen(
        command,
        env=dict([*environ.items(), mark.split("=")]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout_s)
    except BaseException:
        kill_all(mark)
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
