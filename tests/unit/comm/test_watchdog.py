"""The watchdog ends a process that waits too long in one block, and only such a process."""

from __future__ import annotations

import subprocess
import sys
import time

BEGIN = "import time; from hpc_sr.comm.watchdog import Watchdog; w = Watchdog('rank 3 of 4', 1.5)\n"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BEGIN + code], capture_output=True, text=True, timeout=600)


def test_a_block_that_lasts_too_long_ends_the_process_and_says_which() -> None:
    began = time.monotonic()
    done = run("with w.over('a barrier'):\n time.sleep(30)")
    assert done.returncode == 1 and time.monotonic() - began < 25
    assert "[rank 3 of 4] has waited 1.5 s in a barrier" in done.stderr and "cure: " in done.stderr


def test_what_is_not_one_long_block_goes_on() -> None:
    many = "for _ in range(20):\n with w.over('a gather'):\n  time.sleep(0.1)\n"
    nested = "with w.over('outside'):\n for _ in range(20):\n  with w.over('inside'):\n   time.sleep(0.1)\n"
    for code in (many, "time.sleep(2)", "w.end()\nwith w.over('a barrier'):\n time.sleep(2)"):
        done = run(code + "\nprint('all done')")
        assert done.returncode == 0 and "all done" in done.stdout, (code, done.stderr)
    assert run(nested).returncode == 0


def test_an_exception_ends_the_block() -> None:
    code = "try:\n with w.over('a barrier'):\n  1 / 0\nexcept ZeroDivisionError:\n pass\n"
    assert "all done" in run(code + "time.sleep(2)\nprint('all done')").stdout
