"""The doctor's judgement of builds and devices, with made-up machines in place of GPUs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hpc_sr import doctor
from hpc_sr.doctor import Finding, build_trouble, examine, print_findings

#: As torch.cuda.get_arch_list() tells of released builds.
CU126 = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]
CU128 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
CU130 = [*CU128, "compute_120"]
V100, T4, A100, H100, B200 = (7, 0), (7, 5), (8, 0), (9, 0), (10, 0)
_CAPABILITIES = st.tuples(st.integers(5, 13), st.integers(0, 9))


@pytest.mark.parametrize(
    ("capability", "archs", "runs"),
    [
        (V100, CU126, True),
        (V100, CU128, False),
        (V100, CU130, False),
        ((6, 1), CU126, True),
        ((6, 1), CU128, False),
        (T4, CU130, True),
        (A100, CU128, True),
        ((8, 9), CU128, True),
        (H100, CU126, True),
        (B200, CU126, False),
        ((12, 1), CU128, True),
        ((11, 0), CU128, False),
        ((12, 1), ["compute_120"], True),
        ((13, 0), CU130, True),
        (A100, ["sm_86"], False),
        ((8, 6), ["sm_86"], True),
        (H100, ["sm_90a"], True),
        ((9, 1), ["sm_90a"], False),
        ((10, 3), ["sm_100f"], True),
        ((11, 0), ["sm_100f"], False),
        ((11, 0), ["compute_100f"], False),
        (A100, ["compute_70"], True),
        (V100, ["compute_75"], False),
        (H100, ["gfx90a", "gfx942"], True),
        (V100, [], True),
    ],
)
def test_a_build_runs_where_its_code_does(capability: tuple[int, int], archs: list[str], runs: bool) -> None:
    assert (build_trouble(capability, archs, "2.13.0") is None) == runs


@given(device=_CAPABILITIES, built_for=_CAPABILITIES)
def test_machine_code_stays_in_its_major_version_and_ptx_does_not(device, built_for) -> None:
    name = f"{built_for[0]}{built_for[1]}"
    code, ptx = (build_trouble(device, [f"{kind}_{name}"], "2.13.0") is None for kind in ("sm", "compute"))
    assert code == (device[0] == built_for[0] and device[1] >= built_for[1])
    assert ptx == (device >= built_for)


@pytest.mark.parametrize(
    ("capability", "archs", "told"),
    [
        (V100, CU130, r"2\.13\.0\+cu130 is built for sm_75.*not sm_70: install its cu126 build, or the cu128 .* 2.10"),
        ((6, 0), CU130, "not sm_60: install its cu126 build$"),
        (B200, CU126, "not sm_100: install its cu128"),
        (A100, ["sm_90"], "not sm_80: .* has sm_80"),
    ],
)
def test_a_mismatch_names_the_build_to_install(capability, archs, told: str) -> None:
    assert re.search(told, build_trouble(capability, archs, "2.13.0+cu130") or "")


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch):
    """Let torch see GPUs of these names and capabilities in a build for `archs`."""

    def see(devices: list[tuple[str, tuple[int, int]]], archs: list[str]) -> None:
        def number(device: torch.device | int | None = None) -> int:
            return device.index or 0 if isinstance(device, torch.device) else device or 0

        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(devices))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(devices))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda d=None: devices[number(d)][0])
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda d=None: devices[number(d)][1])
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: archs)

    return see


def test_every_visible_gpu_is_looked_at(gpus) -> None:
    gpus([("A100", A100), ("V100", V100), ("A100", A100)], CU130)
    good, bad = doctor._gpus()
    assert good.works and good.detail.startswith("2 x A100, capability 8.0;") and good.detail.endswith("is bf16")
    assert not bad.works and bad.detail.startswith("1 x V100, capability 7.0: torch") and "cu126" in bad.detail


def test_a_v100_with_a_fitting_build_computes_in_fp16(gpus) -> None:
    gpus([("V100", V100)] * 4, CU126)
    (finding,) = doctor._gpus()
    assert finding.works and "4 x V100" in finding.detail and "fp16 with loss scaling" in finding.detail


def test_nccl_is_missed_on_a_gpu_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_python", lambda command: "True True False")
    monkeypatch.setattr(doctor, "version", lambda name: "0.28.1")
    assert doctor._horovod(has_gpus=False) == "0.28.1 with MPI, Gloo"
    with pytest.raises(RuntimeError, match="MPI, Gloo, without NCCL.*make horovod"):
        doctor._horovod(has_gpus=True)
    monkeypatch.setattr(doctor, "_python", lambda command: "True True True")
    assert doctor._horovod(has_gpus=True).endswith("NCCL")


def test_no_gpu_is_explained(gpus, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus([], [])
    found = []
    for tool, cuda in ((None, None), ("nvidia-smi", None), ("nvidia-smi", "12.6")):
        monkeypatch.setattr(shutil, "which", lambda name, tool=tool: tool)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        (finding,) = doctor._gpus()
        assert not finding.works
        found.append(finding.detail)
    assert found[0] == "none that torch sees"
    assert "built without CUDA" in found[1] and "CUDA_VISIBLE_DEVICES" in found[2]


def test_little_shared_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(64 << 20, 0, 64 << 20))
    with pytest.raises(RuntimeError, match="0.1 of 0.1 GiB free"):
        doctor._shared_memory()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 34, 0, 1 << 33))
    assert "8.0 of 16.0 GiB free" in doctor._shared_memory()


def test_what_is_needed_works_here() -> None:
    assert print_findings(examine()) == 0


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in front of all others, with commands of which a descendant hangs, and keeps what they write to open."""
    for name in ("mpirun", "python"):
        (tmp_path / name).write_text("#!/bin/sh\nsleep 1000 &\necho $! > $0.pid\nwait\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(doctor, "_COMMAND_S", 1.0)
    return tmp_path


def test_a_command_that_hangs_is_given_up_with_its_descendants(hanging: Path) -> None:
    finding = doctor._command("mpirun", "--version", "install Open MPI")
    assert not finding.works and finding.detail.startswith("no answer within 1 s: run `mpirun --version` by hand")
    state = Path(f"/proc/{(hanging / 'mpirun.pid').read_text().strip()}/stat")
    until = time.monotonic() + 600
    while state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] != "Z":
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_driver_that_hangs_is_asked_by_a_child_only(hanging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(hanging / "python"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("asked here"))
    (finding,) = doctor._tried_gpus()
    assert not finding.works and finding.detail.startswith("no answer within 1 s: see whether nvidia-smi answers")


def test_what_hangs_in_this_process_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_ATTEMPT_S", 0.1)
    finding = doctor._tried("file locking here", threading.Event().wait, needed=True)
    assert (finding.works, finding.needed, finding.detail) == (False, True, "no answer within 0.1 s")


@pytest.mark.parametrize("content", ["#!/bin/sh\nexit 3\n", "#!/nowhere/sh\n", ""])
def test_a_broken_command_is_a_finding(hanging: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setattr(doctor, "_COMMAND_S", 60.0)
    (hanging / "mpirun").write_text(content)
    finding = doctor._command("mpirun", "--version", "install Open MPI")
    assert not finding.works and finding.detail.endswith("; install Open MPI")


def test_what_is_found_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings([Finding("[red]", True, ":smile: [/]"), Finding("b", False, "[bold]x")])
    told = capsys.readouterr().out
    assert all(text in told for text in ("[red]", ":smile: [/]", "[bold]x")) and "yes" in told


def test_somebody_elses_data_prep_is_found(tmp_path: Path) -> None:
    """Distributions may bring a package of the same name: it would take the place of ours."""
    (tmp_path / "data_prep").mkdir()
    (tmp_path / "data_prep" / "__init__.py").touch()
    code = "from hpc_sr.doctor import _shipped, _tried; print(_tried('x', _shipped).detail)"
    root = Path(doctor.__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"}
    said = subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True).stdout
    assert f"data_prep is {tmp_path / 'data_prep'}, somebody else's" in said
