"""Every backend keeps the same contract, under every launcher; a rank that fails ends the others soon."""

from __future__ import annotations

import json
import re
import sys
import time
from itertools import product
from pathlib import Path

import pytest
from batch_contract import GATHERING_CONTRACT
from comm_contract import CONTRACT
from launchers import LAUNCHERS, plain_environment, require_horovod, require_launcher, run_command, run_ranks
from thread_ranks import on_ranks

from hpc_sr.comm.communicator import SerialComm

SCRIPT = Path(__file__).with_name("comm_contract.py")


def told(done) -> str:
    return f"exit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"


@pytest.mark.parametrize("part", CONTRACT, ids=lambda part: part.__name__)
def test_serial_keeps_the_contract(part):
    part(SerialComm())


@pytest.mark.parametrize("part", GATHERING_CONTRACT, ids=lambda part: part.__name__)
def test_threads_keep_the_part_that_only_gathers(part):
    on_ranks(3, part)


# Three ranks: with two, a + b = b + a hides that sums depend on the order of what is added.
@pytest.mark.parametrize(
    ("launcher", "ranks", "scenes", "options"),
    [
        ("mpirun", 3, "contract,portions,compression", {}),
        ("horovodrun", 3, "contract", {}),
        ("horovodrun-gloo", 3, "contract", {}),
        ("torchrun", 3, "contract,portions,compression,static", {}),
        ("mpirun", 2, "contract,adasum,compiled", {"cycle_time_ms": 3}),
        ("mpirun", 2, "autotune", {"autotune": True}),
        ("torchrun", 2, "contract,compiled", {}),
    ],
)
def test_what_auto_connects_keeps_the_contract_and_its_options(launcher, ranks, scenes, options):
    require_launcher(launcher)
    if launcher != "torchrun":
        require_horovod()
    done = run_ranks(launcher, SCRIPT, ["auto", scenes, json.dumps(options)], ranks=ranks)
    backend = "ddp" if launcher == "torchrun" else "horovod"
    for scene in scenes.split(","):
        for rank in range(ranks):
            assert f"{backend} of {ranks}: rank {rank} done: {scene}" in done.stdout, f"{scene}: {told(done)}"
    assert done.returncode == 0, told(done)


def test_ddp_finds_its_ranks_under_a_launcher_of_others():
    require_launcher("horovodrun-gloo")
    done = run_ranks("horovodrun-gloo", SCRIPT, ["ddp", "ranks"])
    assert done.returncode == 0, told(done)
    assert all(f"ddp of 2: rank {rank} done" in done.stdout for rank in range(2)), told(done)


def test_ddp_takes_over_where_horovod_is_broken(tmp_path):
    require_launcher("mpirun")
    (tmp_path / "horovod").mkdir()
    (tmp_path / "horovod" / "__init__.py").write_text("raise ImportError('built for another torch')\n")
    done = run_ranks("mpirun", SCRIPT, ["auto", "ranks"], env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0 and "ddp of 2: rank 1 done" in done.stdout, told(done)


@pytest.mark.parametrize("backend", ["horovod", "ddp"])
def test_a_world_of_one_keeps_the_contract(backend):
    if backend == "horovod":
        require_horovod()
    done = run_command([sys.executable, str(SCRIPT), backend, "contract"], plain_environment())
    assert done.returncode == 0 and f"{backend} of 1: rank 0 done" in done.stdout, told(done)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_rank_that_fails_ends_all_and_says_why(launcher):
    require_launcher(launcher)
    began = time.monotonic()
    done = run_ranks(launcher, SCRIPT, ["auto", "raise"])
    assert done.returncode != 0, told(done)
    assert "[rank 1 of 2] RecipeError: recipe.yaml: a mistake on rank 1" in done.stderr, told(done)
    assert "cure: mend it" in done.stderr
    if launcher in ("mpirun", "horovodrun"):  # the others end with 1, whatever their ranks ended with
        assert done.returncode == 2, told(done)
    assert time.monotonic() - began < 60  # start included; the other rank would wait for ten minutes


def test_adasum_is_refused_where_horovod_has_none():
    require_launcher("horovodrun-gloo")
    require_horovod()
    done = run_ranks("horovodrun-gloo", SCRIPT, ["auto", "adasum", '{"reduction": "adasum"}'])
    assert done.returncode != 0 and "Adasum over MPI only" in done.stderr, told(done)


def _is_running(pid: int) -> bool:
    """Return whether there is such a process, dead ones that nobody has asked for not counted."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


#: How long launchers may take to end what is left: torchrun gives a process that does not answer 30 s.
ENDING_S = {("torchrun", "stopped"): 50}
#: horovodrun over MPI waits for a silent rank as mpirun does.
LOST = [*product(LAUNCHERS, ["killed"]), *product(["mpirun", "horovodrun-gloo", "torchrun"], ["stopped"])]


@pytest.mark.parametrize(("launcher", "scene"), LOST)
def test_a_lost_rank_ends_the_run_soon(launcher, scene):
    """Killed, or silent with its connections open: nobody waits for ever, and nobody is left."""
    require_launcher(launcher)
    if launcher != "torchrun":
        require_horovod()
    done = run_ranks(launcher, SCRIPT, ["auto", scene, '{"stall_s": 5}'])
    ended = time.time()
    assert done.returncode != 0, told(done)
    lost_at = re.search(r"lost at (\d+\.\d+)\.", done.stdout)  # a launcher may put its marks before the line ends
    assert lost_at, told(done)
    assert ended - float(lost_at[1]) < ENDING_S.get((launcher, scene), 20), told(done)
    pids = [int(pid) for pid in re.search(r"pids \[([\d, ]+)]", done.stdout)[1].split(",")]
    until = time.monotonic() + 10  # a launcher may leave while its last process still ends
    while (left := [pid for pid in pids if _is_running(pid)]) and time.monotonic() < until:
        time.sleep(0.1)
    assert len(pids) == 2 and not left
    if scene == "stopped" and launcher != "torchrun":
        assert "[rank 0 of 2] has waited 5 s in the exchange of gradients" in done.stderr, told(done)
        assert "cure: " in done.stderr


def test_a_world_of_another_size_than_launched_is_an_error():
    """What happens where the MPI of the launcher is not the one that Horovod was built with."""
    require_launcher("mpirun")
    require_horovod()
    alone = {"HOROVOD_CONTROLLER": "gloo", "HOROVOD_CPU_OPERATIONS": "gloo"}
    done = run_ranks("mpirun", SCRIPT, ["horovod", "ranks"], env=alone)
    assert done.returncode != 0, told(done)
    assert "mpirun started 2 ranks, but the backend horovod is a world of 1" in done.stderr, told(done)
    assert "cure: " in done.stderr
