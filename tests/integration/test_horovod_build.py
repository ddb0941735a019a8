"""tools/horovod.sh: what it would build for a torch and a machine, told without building."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools/horovod.sh"
CPU, CUDA, ROCM = "2.13.0+cpu - -", "2.13.0 13.0 -", "2.13.0+rocm6.4 - 6.4"


@pytest.fixture
def machine(tmp_path: Path):
    """Return a function that tells what is built for a torch where these programs are on the PATH."""
    (tmp_path / "cuda/bin").mkdir(parents=True)
    (tmp_path / "cuda/bin/nvcc").symlink_to("/bin/true")

    def tell(torch: str, *programs: str, nccl: Path | str = "", **settings: str) -> tuple[int, list[str]]:
        answer = (
            f'case "$*" in *--dryrun*) echo "#$ TOP={tmp_path}/cuda" ;; *"import sys, torch"*) echo "py311 {torch}" ;;'
        )
        answer += f' *) echo "{nccl}" ;; esac'
        for name in ("python", *programs):
            (tmp_path / name).write_text(f"#!/bin/bash\n{answer}\n")
            (tmp_path / name).chmod(0o755)
        command = ["/bin/bash", SCRIPT, tmp_path]
        done = subprocess.run(command, env={"PATH": f"{tmp_path}:/bin", **settings}, capture_output=True, text=True)
        return done.returncode, (done.stdout or done.stderr).splitlines()

    return tell


@pytest.fixture
def nccl(tmp_path: Path) -> Path:
    folder = tmp_path / "an nccl"
    (folder / "include").mkdir(parents=True)
    (folder / "include" / "nccl.h").touch()
    return folder


def test_torch_without_cuda_gets_what_it_always_got(machine) -> None:
    always = [
        "HOROVOD_WITH_PYTORCH=1",
        "HOROVOD_WITHOUT_TENSORFLOW=1",
        "HOROVOD_WITHOUT_MXNET=1",
        "HOROVOD_WITH_GLOO=1",
    ]
    assert machine(CPU, "mpicxx", "nvcc") == (0, ["py311-torch2.13.0+cpu-mpi", *always, "HOROVOD_WITH_MPI=1"])


def test_torch_for_cuda_gets_nccl_under_a_name_of_its_own(machine, nccl: Path) -> None:
    code, (name, *settings) = machine(CUDA, "mpicxx", "nvcc", nccl=nccl)
    assert code == 0 and name == "py311-torch2.13.0-mpi-nccl"
    assert settings[-4].startswith("HOROVOD_CUDA_HOME=/") and settings[-4].endswith("/cuda")
    assert {"HOROVOD_GPU_OPERATIONS=NCCL", f"HOROVOD_NCCL_HOME={nccl}", "HOROVOD_NCCL_LINK=SHARED"} <= set(settings)


def test_the_user_and_the_sites_modules_say_where_nccl_is(machine, nccl: Path, tmp_path: Path) -> None:
    for variable in ("HOROVOD_NCCL_HOME", "EBROOTNCCL", "NCCL_HOME"):
        _, told = machine(CUDA, "mpicxx", "nvcc", **{variable: str(nccl)})
        assert f"HOROVOD_NCCL_HOME={nccl}" in told


def test_gpus_without_nvcc_are_refused_and_cuda_home_goes_before_the_path(machine, nccl: Path, tmp_path: Path) -> None:
    (tmp_path / "cuda/bin/nvcc").unlink()
    other = tmp_path / "other/bin"
    other.mkdir(parents=True)
    (other / "nvcc").symlink_to("/bin/true")
    for programs in (["mpicxx"], ["mpicxx", "nvcc"]):
        code, told = machine(CUDA, *programs, nccl=nccl)
        assert code == 1 and "no nvcc" in told[0] and "cure: " in told[1]
        _, told = machine(CUDA, *programs, nccl=nccl, CUDA_HOME=str(other.parent))
        assert f"HOROVOD_CUDA_HOME={other.parent}" in told


def test_gpus_without_what_they_need_are_refused_with_a_cure(machine, nccl: Path) -> None:
    for torch, programs, word in ((CUDA, ["mpicxx", "nvcc"], "no nccl.h"), (ROCM, ["mpicxx"], "ROCm 6.4, for which")):
        code, told = machine(torch, *programs)
        assert code == 1 and word in told[0] and "cure: " in told[1] and "comm.backend=ddp" in told[1]


def test_what_is_asked_for_by_name_is_built(machine) -> None:
    code, told = machine(ROCM, "mpicxx", HOROVOD_GPU="ROCM", HOROVOD_GPU_OPERATIONS="NCCL")
    assert code == 0 and told[0] == "py311-torch2.13.0+rocm6.4-mpi-nccl"
    assert not any(line.startswith("HOROVOD_GPU") for line in told), "they are in the environment already"
