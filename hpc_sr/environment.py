"""Where and with what a run was made: written into every run directory."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from hpc_sr.comm.communicator import Comm

_PACKAGES = ("hpc_sr", "torch", "numpy", "scipy", "h5py", "hdf5plugin", "rasterio", "pydantic", "horovod", "mpi4py")


def describe_environment(comm: Comm, recipe: dict[str, Any], derived: dict[str, Any]) -> dict[str, Any]:
    """Return versions, commit, hosts, launcher variables, recipe and derived numbers. Collective."""
    hosts = comm.gather(socket.gethostname())
    launched = ("SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_NTASKS", "SLURM_NODELIST", "SLURM_RESTART_COUNT")
    return {
        "command": shlex.join(sys.argv),
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "packages": {name: version(name) for name in _PACKAGES},
        "backend": comm.backend,
        "world_size": comm.world_size,
        "hosts": hosts,
        "device": str(comm.device),
        "slurm": {name: os.environ[name] for name in launched if name in os.environ},
        "derived": derived,
        "recipe": recipe,
    }


def version(package: str) -> str | None:
    """Return the installed version of a package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """Return the commit that this package's source is at, with "+changes" if it differs, or None outside git."""
    folder = Path(__file__).resolve().parents[1]
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty=+changes", "--abbrev=12"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip()


def _processor() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)
