"""A private Slurm cluster for tests: slurm/local starts and stops it, Slurm's own commands speak to it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
#: When to give up what ought to have ended long since on any machine, however busy.
PATIENCE_S = 600.0
_OVER = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT")


@dataclass(frozen=True)
class Job:
    """A job that is over: Slurm's word for how it ended, the script's exit code, and all that it printed."""

    number: int
    state: str
    exit_code: int
    restarts: int
    output: str


class PrivateCluster:
    """Two nodes, n1 and n2, with 4 CPUs and 4 GPUs each by promise. `directory` holds it all.

    Both are this host, or with `hosts` they have their own names and addresses on a network of their own.
    """

    def __init__(self, directory: Path, *, hosts: bool = False):
        self.directory = directory
        self.hosts = hosts
        self.environment: dict[str, str] = {}

    def start(self) -> str:
        """Return what start.sh says once both nodes are idle. Raises RuntimeError with its logs otherwise."""
        form = ["--hosts"] if self.hosts else []
        said = _run([PROJECT / "slurm/local/start.sh", *form, self.directory], _outside())
        settings = _run(["bash", "-c", 'source "$0/env.sh" && env -0', self.directory], _outside())
        self.environment = dict(line.split("=", 1) for line in settings.split("\0") if line)
        self.environment["HPC_SR_VENV"] = sys.prefix
        return said

    def stop(self) -> str:
        """Return what stop.sh says once no process of the cluster is left."""
        return _run([PROJECT / "slurm/local/stop.sh", self.directory], _outside())

    def run(self, *command: str | Path, env: Mapping[str, str] | None = None, cwd: Path = PROJECT) -> str:
        """Return the standard output of a command in `cwd`, with the cluster's environment and `env`.

        Raises RuntimeError with the output if it fails, subprocess.TimeoutExpired if it does not end.
        """
        return _run(command, {**self.environment, **(env or {})}, cwd)

    def submit(
        self,
        script: str | Path,
        *,
        env: Mapping[str, str] | None = None,
        args: Sequence[str] = (),
        options: Sequence[str] = (),
        cwd: Path = PROJECT,
        timeout_s: float = PATIENCE_S,
    ) -> Job:
        """Return how `env sbatch options script args` ended, submitted from `cwd`.

        Raises TimeoutError with the output, the job cancelled, if it is not over in time.
        """
        return self.wait(self.enqueue(script, env=env, args=args, options=options, cwd=cwd), timeout_s)

    def enqueue(
        self,
        script: str | Path,
        *,
        env: Mapping[str, str] | None = None,
        args: Sequence[str] = (),
        options: Sequence[str] = (),
        cwd: Path = PROJECT,
    ) -> int:
        """Return the number of the job that has been submitted as by `submit`."""
        output = f"--output={self.directory}/job-%j.out"
        return int(self.run("sbatch", "--parsable", output, *options, script, *args, env=env, cwd=cwd))

    def wait(self, number: int, timeout_s: float = PATIENCE_S) -> Job:
        """Return the job once it is over, its restarts included. Raises TimeoutError as `submit` does."""
        deadline = time.monotonic() + timeout_s
        while (facts := self.facts(number))["JobState"] not in _OVER:
            if time.monotonic() > deadline:
                for how in ("--signal=KILL", "--full"), ():
                    with suppress(RuntimeError):  # it may have ended meanwhile
                        self.run("scancel", *how, str(number))
                raise TimeoutError(f"job {number} is {facts['JobState']} after {timeout_s} s:\n{self._output(number)}")
            time.sleep(0.2)
        exit_code = int(facts["ExitCode"].split(":")[0])
        return Job(number, facts["JobState"], exit_code, int(facts["Restarts"]), self._output(number))

    def link(self, node: str, state: str) -> None:
        """Cut a node of a cluster with `hosts` off the network (state "down") or join it again ("up")."""
        _run([PROJECT / "slurm/local/link.sh", self.directory, node, state], _outside())

    def facts(self, number: int) -> dict[str, str]:
        """Return what `scontrol show job` knows of a job, name by name."""
        words = self.run("scontrol", "show", "job", "--oneliner", str(number)).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def _output(self, number: int) -> str:
        path = self.directory / f"job-{number}.out"
        return path.read_text(errors="replace") if path.exists() else ""


def _outside() -> dict[str, str]:
    """Return an environment without a trace of another launcher, site or cluster."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL") if name in os.environ}


def _run(command: Sequence[str | Path], env: Mapping[str, str], cwd: Path = PROJECT) -> str:
    done = subprocess.run(
        command, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S
    )
    if done.returncode:
        words = " ".join(map(str, command))
        raise RuntimeError(f"`{words}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
