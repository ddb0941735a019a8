"""The container recipes: both do the same steps, on what they have copied, by the Makefile's own targets."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from support import require

PROJECT = Path(__file__).resolve().parents[2]


def _dockerfile() -> tuple[str, list[str], list[str]]:
    """Return the base image, the paths that are copied, and the shell commands of the Dockerfile."""
    text = re.sub(r"\\\n", " ", (PROJECT / "containers/Dockerfile").read_text())
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    words = {key: [rest for name, rest in lines if name == key] for key, _ in lines}
    copied = [path for line in words["COPY"] for path in line.split()[:-1]]
    steps = [step.strip() for line in words["RUN"] for step in line.split("&&")]
    (base,) = words["FROM"]
    return base, copied, steps


def _definition() -> tuple[str, list[str], list[str]]:
    """Return the same of the Apptainer definition."""
    text = (PROJECT / "containers/hpc_sr.def").read_text()
    head, *sections = re.split(r"^%(\w+)\n", text, flags=re.MULTILINE)
    body = {name: lines.split("\n") for name, lines in zip(sections[::2], sections[1::2], strict=True)}
    copied = [line.split()[0] for line in body["files"] if line.strip()]
    steps = [line.strip() for line in body["post"] if line.strip() and line.strip() != "set -e"]
    (base,) = re.findall(r"^From: (\S+)$", head, flags=re.MULTILINE)
    return base, copied, [step for step in steps if not step.startswith("cd ")]


def test_both_recipes_do_the_same_on_the_same_pinned_base() -> None:
    assert _dockerfile() == _definition()
    assert re.fullmatch(r"docker\.io/library/debian:\d+\.\d+-slim", _dockerfile()[0])


def test_the_steps_are_the_makefile_s_own_and_find_what_they_need(tmp_path: Path) -> None:
    require(shutil.which("make"), "make is not installed")
    _, copied, steps = _dockerfile()
    for name in copied:
        path = PROJECT / name
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, tmp_path / name)
    (making,) = (shlex.split(step) for step in steps if step.startswith("make "))
    # Without what it needs, or with a target that is not there, make fails.
    done = subprocess.run(["make", "-n", *making[1:]], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "-c constraints.txt" in done.stdout and "/opt/venv/bin/pip" in done.stdout and "horovod" in done.stdout
    missing = subprocess.run(["make", "-n", "no-such-target"], cwd=tmp_path, capture_output=True)
    assert missing.returncode != 0
    pinned = {line.split("==")[0] for line in (tmp_path / "constraints.txt").read_text().splitlines()}
    (more,) = (shlex.split(step) for step in steps if "pip install" in step)
    assert more[more.index("-c") + 1] == "constraints.txt" and more[-1] in pinned


def test_mpi_is_the_packages_that_the_tests_run_with() -> None:
    packages = re.search(r"^SYSTEM_PACKAGES := (.*)$", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE)
    assert packages is not None
    mpi = {name for name in packages[1].split() if "mpi" in name}
    (installing,) = (step for step in _dockerfile()[2] if step.startswith("apt-get install"))
    assert mpi and mpi <= set(installing.split())


@pytest.mark.parametrize("steps", [_dockerfile, _definition])
def test_every_step_is_a_command_of_a_shell(steps) -> None:
    for step in steps()[2]:
        done = subprocess.run(["sh", "-n", "-c", step], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
