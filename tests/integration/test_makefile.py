"""`make system` on a machine where somebody else is installing: apt's own files lie in a folder of the test."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from pathlib import Path

from support import require

PROJECT = Path(__file__).resolve().parents[2]


def test_apt_held_by_another_process_is_waited_for(tmp_path: Path) -> None:
    require(os.geteuid() == 0 and shutil.which("apt-get"), "not root on Debian")
    places = {"Dir::State::Lists": "lists", "Dir::State::status": "dpkg/status", "Dir::Cache::archives": "archives"}
    for folder in ("lists/partial", "archives/partial", "dpkg"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "dpkg/status").touch()
    options = [f"-o {name}={tmp_path / place}" for name, place in places.items()]
    options += ["-o Dir::Etc::SourceList=/dev/null", "-o Dir::Etc::SourceParts=/dev/null"]
    command = ["make", "system", "SYSTEM_PACKAGES=no-such-package", f"APT_OPTIONS={' '.join(options)}"]
    with (tmp_path / "lists/lock").open("w") as lists, (tmp_path / "dpkg/lock-frontend").open("w") as dpkg:
        fcntl.lockf(lists, fcntl.LOCK_EX)
        fcntl.lockf(dpkg, fcntl.LOCK_EX)
        process = subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True)
        assert "Could not get lock" in process.stderr.readline()
        fcntl.lockf(lists, fcntl.LOCK_UN)
        until = time.monotonic() + 600
        while not installing(str(tmp_path)):
            assert time.monotonic() < until and process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        time.sleep(1)  # for apt to find dpkg held; if it came later, nothing would fail
    _, told = process.communicate(timeout=600)
    # It has come as far as the package, which nobody has.
    assert process.returncode != 0 and "no-such-package" in told and "dpkg/lock" not in told, told


def installing(mark: str) -> bool:
    """Return whether an `apt-get install` with the mark among its words is there."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        if words[0] == b"apt-get" and b"install" in words and any(mark.encode() in word for word in words):
            return True
    return False
