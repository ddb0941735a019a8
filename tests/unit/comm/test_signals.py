"""A signal that comes while the interpreter takes itself apart changes no exit code."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_ENDS = """
import os
from hpc_sr.comm.signals import end_on_signals

class Last:
    def __del__(self, kill=os.kill, myself=os.getpid()):
        kill(myself, {number})

end_on_signals()
last = Last()  # lives until modules are cleared, after Python has given back its own handlers
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_work_is_done_does_not_make_it_look_killed(number: signal.Signals) -> None:
    ended = subprocess.run([sys.executable, "-c", _ENDS.format(number=int(number))], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
