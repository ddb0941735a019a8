"""What is installed and what works on this machine: each line is something that was tried, not guessed."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import rasterio
import torch
from rasterio.transform import from_origin
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import data_prep
from hpc_sr.environment import version
from hpc_sr.models.precision import choose_precision
from hpc_sr.shipped import SLURM, shipped_recipes

#: How long a command, and a thing that is tried, may take: on a broken machine either may hang for ever.
_COMMAND_S, _ATTEMPT_S = 60.0, 90.0


@dataclass(frozen=True)
class Finding:
    """One thing that was tried. If a `needed` thing fails, the doctor fails; others are only reported."""

    what: str
    works: bool
    detail: str
    needed: bool = False


def examine() -> list[Finding]:
    """Return the findings on this machine; each takes no longer than a minute or two."""
    gpus = _tried_gpus()
    has_gpus = any(finding.works for finding in gpus)
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "h5py", "rasterio"))
    return [
        Finding("hpc_sr", True, f"{version('hpc_sr')} with {packages}", needed=True),
        _tried("what hpc_sr ships", _shipped, needed=True),
        _tried("JPEG2000 (GDAL)", _jpeg2000, needed=True),
        _tried("HDF5 contiguous layout", lambda: _hdf5("contiguous"), needed=True),
        _tried("HDF5 bitshuffle + lz4 filter", lambda: _hdf5("compact"), needed=True),
        _tried("file locking here", _file_locking),
        _tried("room in /dev/shm", _shared_memory),
        *gpus,
        Finding("number type on the CPU", True, choose_precision("auto", torch.device("cpu"))),
        _tried("backend ddp", lambda: _ddp(has_gpus)),
        _tried("backend horovod", lambda: _horovod(has_gpus)),
        _tried("mpi4py", _mpi4py),
        _command("mpirun", "--version", "install Open MPI, or load the site's module"),
        _command("sbatch", "--version", "works on a cluster; local/start.sh of `hpc-sr slurm` starts a private one"),
    ]


def print_findings(findings: list[Finding]) -> int:
    """Print the findings; return 1 if something that is needed does not work, else 0."""
    table = Table("", "what", "detail", box=None)
    for finding in findings:
        mark = "[green]yes[/]" if finding.works else "[red]NO[/]" if finding.needed else "[yellow]no[/]"
        table.add_row(mark, escape(finding.what), escape(finding.detail))
    Console(emoji=False).print(table)
    return int(any(finding.needed and not finding.works for finding in findings))


def _tried(what: str, attempt: Callable[[], str], needed: bool = False) -> Finding:
    """Return what came of an attempt, which goes on in its thread if it takes too long."""
    found: list[Finding] = []

    def try_it() -> None:
        try:
            found.append(Finding(what, True, attempt(), needed))
        # Whatever goes wrong here is what the user came to see.
        except Exception as error:
            first_line = next(iter(str(error).splitlines()), "")
            found.append(Finding(what, False, f"{type(error).__name__}: {first_line}", needed))

    thread = threading.Thread(target=try_it, daemon=True)
    thread.start()
    thread.join(_ATTEMPT_S)
    return found[0] if found else Finding(what, False, f"no answer within {_ATTEMPT_S:g} s", needed)


def _shipped() -> str:
    # Others may have a package of this name too, and whichever is installed last lies over the first.
    found, ours = Path(data_prep.__path__[0]).resolve(), Path(__file__).resolve().parents[1] / "data_prep"
    if found != ours:
        raise RuntimeError(f"data_prep is {found}, somebody else's, and not {ours}: take it off the path")
    recipes, scripts = len(shipped_recipes()), len(list(SLURM.rglob("*.sh")))
    if not (recipes and scripts):
        raise RuntimeError(f"{recipes} recipes and {scripts} job scripts: install it again")
    return f"data_prep, {recipes} recipes (hpc-sr recipe), {scripts} job scripts (hpc-sr slurm)"


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


def _shared_memory() -> str:
    usage = shutil.disk_usage("/dev/shm")
    told = f"{usage.free / 2**30:.1f} of {usage.total / 2**30:.1f} GiB free"
    if usage.free < 1 << 30:
        raise RuntimeError(f"{told}: Open MPI and NCCL keep buffers there, and train.stage may")
    return f"{told} (train.stage=/dev/shm copies shards there)"


def _tried_gpus() -> list[Finding]:
    """Return the findings on GPUs. A driver may hang so that not even a kill ends who asks it: a child asks first."""
    try:
        _python("import torch; print(torch.cuda.is_available() and torch.cuda.get_device_capability())")
    except TimeoutError as error:
        return [Finding("GPU", False, f"{error}: see whether nvidia-smi answers; a reboot of the node may be needed")]
    except RuntimeError as error:
        return [Finding("GPU", False, str(error))]
    return _gpus()


def _gpus() -> list[Finding]:
    """Return what each kind of visible GPU is, and whether this torch can compute on it."""
    if not torch.cuda.is_available():
        return [Finding("GPU", False, _why_no_gpu())]
    kinds: Counter[tuple[str, tuple[int, int], str]] = Counter()
    for index in range(torch.cuda.device_count()):
        precision = choose_precision("auto", torch.device("cuda", index))
        kinds[torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index), precision] += 1
    return [_gpu(f"{count} x {kind[0]}", *kind[1:]) for kind, count in kinds.items()]


def _gpu(name: str, capability: tuple[int, int], precision: str) -> Finding:
    told = f"{name}, capability {capability[0]}.{capability[1]}"
    trouble = build_trouble(capability, torch.cuda.get_arch_list(), torch.__version__)
    if trouble is not None:
        return Finding("GPU", False, f"{told}: {trouble}")
    types = {"bf16": "bf16", "fp16": "fp16 with loss scaling, it has no bf16", "fp32": "fp32, it has no tensor cores"}
    return Finding("GPU", True, f"{told}; train.precision=auto is {types[precision]}")


def _why_no_gpu() -> str:
    if shutil.which("nvidia-smi") is None:
        return "none that torch sees"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA: install a build with it"
    return "none that torch sees, though nvidia-smi is here: see whether it lists one, and CUDA_VISIBLE_DEVICES"


def build_trouble(capability: tuple[int, int], archs: Sequence[str], torch_version: str) -> str | None:
    """Return why a torch built for `archs` cannot compute on a GPU of this capability and what to install, or None.

    `archs` are of torch.cuda.get_arch_list(). Machine code (sm_XY) runs on its own major version from its minor on,
    with the suffix a on nothing but its own; PTX (compute_XY) is compiled for whatever is not older. Builds of ROCm
    name other things (gfx90a) and are not judged.
    """
    known = [match for match in map(re.compile(r"(sm|compute)_(\d+)(\d)([af]?)").fullmatch, archs) if match]
    if not known or any(_runs(capability, match) for match in known):
        return None
    sm = f"sm_{capability[0]}{capability[1]}"
    return f"torch {torch_version} is built for {', '.join(archs)}, not {sm}: install {_build_with(capability)}"


def _runs(capability: tuple[int, int], arch: re.Match[str]) -> bool:
    built_for = int(arch[2]), int(arch[3])
    if arch[4] == "a":
        return capability == built_for
    if arch[1] == "compute" and not arch[4]:
        return capability >= built_for
    return capability[0] == built_for[0] and capability >= built_for


def _build_with(capability: tuple[int, int]) -> str:
    """Return the build of torch that carries a capability. CUDA 13 has none below 7.5, of those of CUDA 12 some."""
    if capability < (7, 0):
        return "its cu126 build"
    if capability < (7, 5):
        return "its cu126 build, or the cu128 build of 2.10 or older"
    if capability >= (10, 0):
        return "its cu128 or cu130 build, 2.7 or newer"
    return f"one of its default builds that has sm_{capability[0]}0"


def _ddp(has_gpus: bool) -> str:
    command = "import torch.distributed as d; print(d.is_gloo_available(), d.is_nccl_available())"
    gloo, nccl = _python(command).split()
    built = [name for name, there in (("Gloo", gloo), ("NCCL", nccl)) if there == "True"]
    return _with_nccl_for_gpus("", built, has_gpus)


def _horovod(has_gpus: bool) -> str:
    command = "import horovod.torch as h; print(h.mpi_built(), h.gloo_built(), bool(h.nccl_built()))"
    mpi, gloo, nccl = _python(command).split()
    built = [name for name, there in (("MPI", mpi), ("Gloo", gloo), ("NCCL", nccl)) if there == "True"]
    return _with_nccl_for_gpus(f"{version('horovod')} with ", built, has_gpus)


def _with_nccl_for_gpus(who: str, built: list[str], has_gpus: bool) -> str:
    told = who + ", ".join(built)
    if has_gpus and "NCCL" not in built:
        cure = "install a build with NCCL (Horovod: make horovod)"
        raise RuntimeError(f"{told}, without NCCL: gradients of GPUs would go through host memory; {cure}")
    return told


def _mpi4py() -> str:
    return (
        f"{version('mpi4py')}: "
        + _python("from mpi4py import MPI; print(MPI.Get_library_version())").split(",")[0].strip()
    )


def _python(command: str) -> str:
    """Return the first line that a Python of its own prints: a broken MPI aborts its process, and not this one."""
    code, told, trouble = _run([sys.executable, "-W", "ignore", "-c", command])
    if code != 0:
        raise RuntimeError((trouble.strip().splitlines() or ["failed"])[-1])
    return told.splitlines()[0]


def _command(name: str, flag: str, cure: str) -> Finding:
    path = shutil.which(name)
    if path is None:
        return Finding(name, False, f"not on PATH: {cure}")
    try:
        code, told, trouble = _run([path, flag])
    except TimeoutError as error:
        return Finding(name, False, f"{error}: run `{name} {flag}` by hand to see what it waits for")
    except OSError as error:
        return Finding(name, False, f"{error}; {cure}")
    first_line = next(iter((told or trouble).strip().splitlines()), f"said nothing, exit code {code}")
    return Finding(name, code == 0, first_line if code == 0 else f"{first_line}; {cure}")


def _run(command: Sequence[str]) -> tuple[int, str, str]:
    """Return a command's exit code, output and errors. Raises TimeoutError if it hangs, its descendants killed."""
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as trouble:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=told, stderr=trouble, start_new_session=True
        )
        try:
            code = process.wait(_COMMAND_S)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # what hangs in a driver cannot be killed
                process.wait(1)
            raise TimeoutError(f"no answer within {_COMMAND_S:g} s") from error
        told.seek(0)
        trouble.seek(0)
        return code, told.read().decode(errors="replace"), trouble.read().decode(errors="replace")
