"""Sharing work out to the real ranks of an MPI program (sharing_contract.py is what runs on them)."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import pytest
from launchers import require_launcher, run_ranks
from support import require

SCRIPT = Path(__file__).with_name("sharing_contract.py")


@pytest.fixture(autouse=True)
def _mpi() -> None:
    require_launcher("mpirun")
    require(importlib.util.find_spec("mpi4py"), "mpi4py is not installed")


@pytest.mark.parametrize("mode", ["results", "alone"])
@pytest.mark.parametrize("ranks", [2, 3])
def test_work_is_shared_out(mode: str, ranks: int) -> None:
    done = run_ranks("mpirun", SCRIPT, [mode], ranks=ranks)
    assert done.returncode == 0, done.stderr
    assert all(f"sharing of {ranks}: rank {rank} done" in done.stdout for rank in range(ranks))


@pytest.mark.parametrize("mode", ["rank-0", "rank-1", "result", "barrier"])
def test_an_exception_ends_all_ranks_soon(mode: str) -> None:
    began = time.monotonic()
    done = run_ranks("mpirun", SCRIPT, [mode], ranks=3)
    failing = 1 if mode in ("rank-1", "barrier") else 0
    assert done.returncode != 0 and "done" not in done.stdout
    assert f"[rank {failing} of 3] RecipeError: {mode}: a mistake" in done.stderr, done.stderr
    assert time.monotonic() - began < 30
