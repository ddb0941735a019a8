"""What is installed and what works on this machine: each line is something that was tried, not guessed."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import rasterio
import torch
from rasterio.transform import from_origin
from rich.console import Console
from rich.table import Table

from hpc_sr.environment import version
from hpc_sr.models.precision import choose_precision


@dataclass(frozen=True)
class Finding:
    """One thing that was tried. `needed` things fail the examination, others are told."""

    what: str
    works: bool
    detail: str
    needed: bool = False


def examine() -> list[Finding]:
    """Return the findings on this machine."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "h5py", "rasterio"))
    return [
        Finding("hpc_sr", True, f"{version('hpc_sr')} with {packages}", needed=True),
        _tried("JPEG2000 (GDAL)", _jpeg2000, needed=True),
        _tried("HDF5 contiguous layout", lambda: _hdf5("contiguous"), needed=True),
        _tried("HDF5 bitshuffle + lz4 filter", lambda: _hdf5("compact"), needed=True),
        _tried("file locking here", _file_locking),
        _gpu(),
        Finding("number type on the CPU", True, choose_precision("auto", torch.device("cpu"))),
        _tried("backend ddp", _ddp),
        _tried("backend horovod", _horovod),
        _tried("mpi4py", _mpi4py),
        _command("mpirun", "--version", "install Open MPI, or load the site's module"),
        _command("sbatch", "--version", "works on a cluster; slurm/local starts a private one"),
    ]


def print_findings(findings: list[Finding]) -> int:
    """Print the findings; return 1 if something that is needed does not work, else 0."""
    table = Table("", "what", "detail", box=None)
    for finding in findings:
        mark = "[green]yes[/]" if finding.works else "[red]NO[/]" if finding.needed else "[yellow]no[/]"
        table.add_row(mark, finding.what, finding.detail)
    Console().print(table)
    return int(any(finding.needed and not finding.works for finding in findings))


def _tried(what: str, attempt: Callable[[], str], needed: bool = False) -> Finding:
    try:
        return Finding(what, True, attempt(), needed)
    # Whatever goes wrong here is what the user came to see.
    except Exception as error:
        return Finding(
            what, False, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", needed
        )


def _jpeg2000() -> str:
    values = np.arange(64, dtype=np.uint16).reshape(1, 8, 8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "band.jp2"
        profile = {"driver": "JP2OpenJPEG", "dtype": "uint16", "count": 1, "height": 8, "width": 8}
        profile["transform"] = from_origin(0, 8, 1, 1)
        with rasterio.open(path, "w", QUALITY="100", REVERSIBLE="YES", **profile) as dataset:
            dataset.write(values)
        with rasterio.open(path) as dataset:
            if not np.array_equal(dataset.read(), values):
                raise RuntimeError("written and read values differ")
    return f"lossless round trip, GDAL {rasterio.__gdal_version__}"


def _hdf5(layout: str) -> str:
    values = np.arange(1024, dtype=np.int16).reshape(4, 256)
    storage = {} if layout == "contiguous" else {"chunks": (1, 256), **hdf5plugin.Bitshuffle(cname="lz4")}
    with tempfile.TemporaryDirectory() as folder:
        with h5py.File(Path(folder) / "probe.h5", "w", locking=False) as file:
            file.create_dataset("x", data=values, **storage)
        with h5py.File(Path(folder) / "probe.h5", "r", locking=False) as file:
            if not np.array_equal(file["x"][...], values):
                raise RuntimeError("written and read values differ")
    return f"round trip, HDF5 {h5py.version.hdf5_version}"


def _file_locking() -> str:
    with tempfile.NamedTemporaryFile(dir=".") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return "flock works in the current folder (stores are read without it)"


def _gpu() -> Finding:
    if not torch.cuda.is_available():
        return Finding("GPU", False, "none that torch sees")
    major, minor = torch.cuda.get_device_capability()
    name = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}, capability {major}.{minor}"
    known = torch.cuda.get_arch_list()
    if known and not any(arch.endswith(f"_{major}{minor}") for arch in known):
        older = [arch for arch in known if arch.startswith("sm_") and int(arch[3:]) // 10 == major]
        if not older:
            built = f"this torch is built for {', '.join(known)}"
            return Finding("GPU", False, f"{name}: {built}; install a build with sm_{major}{minor} (V100: cu126)")
    return Finding("GPU", True, f"{name}, {choose_precision('auto', torch.device('cuda'))}")


def _ddp() -> str:
    command = "import torch.distributed as d; print(d.is_gloo_available(), d.is_nccl_available())"
    gloo, nccl = _python(command).split()
    return ", ".join(name for name, there in (("Gloo", gloo), ("NCCL", nccl)) if there == "True")


def _horovod() -> str:
    command = "import horovod.torch as h; print(h.mpi_built(), h.gloo_built(), bool(h.nccl_built()))"
    mpi, gloo, nccl = _python(command).split()
    built = [name for name, there in (("MPI", mpi), ("Gloo", gloo), ("NCCL", nccl)) if there == "True"]
    return f"{version('horovod')} with {', '.join(built)}"


def _mpi4py() -> str:
    return (
        f"{version('mpi4py')}: "
        + _python("from mpi4py import MPI; print(MPI.Get_library_version())").split(",")[0].strip()
    )


def _python(command: str) -> str:
    """Return the first line that a Python of its own prints: a broken MPI aborts its process, and not this one."""
    told = subprocess.run([sys.executable, "-W", "ignore", "-c", command], capture_output=True, text=True, timeout=60)
    if told.returncode != 0:
        raise RuntimeError((told.stderr.strip().splitlines() or ["failed"])[-1])
    return told.stdout.splitlines()[0]


def _command(name: str, flag: str, cure: str) -> Finding:
    path = shutil.which(name)
    if path is None:
        return Finding(name, False, f"not on PATH: {cure}")
    told = subprocess.run([path, flag], capture_output=True, text=True, timeout=30)
    first_line = (told.stdout or told.stderr).strip().splitlines()[0]
    return Finding(name, told.returncode == 0, first_line if told.returncode == 0 else f"{first_line}; {cure}")
