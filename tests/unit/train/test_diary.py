"""The diary on a disk that takes no more: an error that names the file, whichever of its writers meets it first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_FULL_DISK = """
import resource, sys
from contextlib import suppress
from pathlib import Path
import torch
from hpc_sr.comm.communicator import SerialComm
from hpc_sr.errors import OutputError, TrainingError
from hpc_sr.train.diary import Diary

folder, limit, fails = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "fails"
comm = SerialComm(torch.device("cpu"))
try:
    with Diary(folder, comm, None, resume_step=0) as diary:
        if not fails:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        for step in range(1, 3000):
            diary.validation(step, step, {"rmse": 1.0, "rmse_bicubic": 2.0})
            if fails and step == 5:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
                with suppress(OSError):  # written by a thread: it is closing that meets the error for certain
                    diary._events.add_scalar("more", 1.0, step)
                raise TrainingError("ranks disagree")
except (OutputError, TrainingError) as error:
    print(type(error).__name__, error)
"""


def _told(folder: Path, limit: int, how: str) -> str:
    command = [sys.executable, "-c", _FULL_DISK, str(folder), str(limit), how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("limit", [0, 4_000])
def test_a_full_disk_is_told_by_name(tmp_path: Path, limit: int) -> None:
    # metrics.jsonl has fewer bytes a step than TensorBoard's file: it is the first that is full only if all is.
    told = _told(tmp_path, limit, "goes on")
    assert told.startswith("OutputError") and "free disk space" in told
    assert str(tmp_path / ("tensorboard" if limit else "metrics.jsonl")) in told


def test_what_ended_training_is_not_hidden_by_a_disk_that_is_full_at_the_end(tmp_path: Path) -> None:
    assert _told(tmp_path, 0, "fails").startswith("TrainingError ranks disagree")
