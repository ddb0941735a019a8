"""What is printed arrives, on any terminal; where it cannot, that is told like any other error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SPEAKER = """
import sys
from hpc_sr.errors import HpcSrError
from hpc_sr.logs import logger, setup_logging, speaking, track
setup_logging(directory=sys.argv[2])
try:
    with speaking():
        logger.info("log: \\u65e5\\u672c")
        for _ in track(range(3), "\\u65e5\\u672c"):
            pass
        print("told: \\u65e5\\u672c \\udcff" + "x" * int(sys.argv[1]))
except HpcSrError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
"""
ASCII = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


def speak(folder: Path, letters: int = 0, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SPEAKER, str(letters), str(folder / "log")]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("environment", [dict(os.environ), ASCII], ids=["usual", "ascii"])
def test_any_letter_goes_to_any_terminal(tmp_path: Path, environment: dict[str, str]) -> None:
    done = speak(tmp_path, stdout=subprocess.PIPE, env=environment)
    assert done.returncode == 0 and "Traceback" not in done.stderr and done.stdout.startswith("told: "), done.stderr
    assert "日本" in (tmp_path / "log" / "rank_0000.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("letters", [0, 100_000])
def test_a_full_disk_behind_standard_output_is_told(tmp_path: Path, letters: int) -> None:
    with open("/dev/full", "w") as full:
        done = speak(tmp_path, letters, stdout=full)
    assert done.returncode == 2 and "error: standard output: cannot be written" in done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_standard_output_that_is_closed_hears_nothing(tmp_path: Path) -> None:
    done = speak(tmp_path, preexec_fn=lambda: os.close(1))
    assert done.returncode == 0 and "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["hpc_sr", "--help"], ["data_prep.synthetic", "{}", "--size-10m", "60"]])
def test_commands_speak_so(tmp_path: Path, command: list[str]) -> None:
    command = [part.format(tmp_path) for part in command]
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", *command], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode in (1, 2) and "error: standard output" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
