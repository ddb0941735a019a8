"""Places of ranks on hosts for Horovod over Gloo without its launcher. Meeting itself is tested in tests/slurm."""

from __future__ import annotations

import importlib.util
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import require

from hpc_sr.comm.launchers import Launch
from hpc_sr.errors import LaunchError


@pytest.fixture(autouse=True)
def _horovod() -> None:
    require(importlib.util.find_spec("horovod"), "horovod is not installed (make horovod)")


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_ranks_in_blocks_lie_as_horovodrun_would_put_them(sizes: list[int]) -> None:
    from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts

    from hpc_sr.comm.srun_gloo import slots

    expected = get_host_assignments(parse_hosts(",".join(f"h{i}:{size}" for i, size in enumerate(sizes))), sum(sizes))
    assert slots([f"h{i}" for i, size in enumerate(sizes) for _ in range(size)]) == expected


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=12))
def test_places_are_one_to_one_however_ranks_are_dealt_out(hosts: list[str]) -> None:
    from hpc_sr.comm.srun_gloo import slots

    places = slots(hosts)
    assert [(place.rank, place.hostname, place.size) for place in places] == [
        (rank, host, len(hosts)) for rank, host in enumerate(hosts)
    ]
    for host in hosts:
        there = [place for place in places if place.hostname == host]
        assert [place.local_rank for place in there] == list(range(len(there)))
        assert {place.local_size for place in there} == {len(there)}
    for local_rank in {place.local_rank for place in places}:
        across = [place for place in places if place.local_rank == local_rank]
        assert sorted(place.cross_rank for place in across) == list(range(len(across)))
        assert {place.cross_size for place in across} == {len(across)}


def test_the_environment_is_lent_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from hpc_sr.comm.srun_gloo import rendezvous

    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    monkeypatch.setenv("HOROVOD_CPU_OPERATIONS", "mpi")
    before = dict(os.environ)
    with rendezvous(Launch("srun", 0, 1, 0, "tcp://127.0.0.1:0"), patience_s=10):
        lent = {name: value for name, value in os.environ.items() if name.startswith("HOROVOD_")}
    assert dict(os.environ) == before
    assert lent.pop("HOROVOD_GLOO_RENDEZVOUS_PORT").isdecimal()
    assert lent == {
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
        "HOROVOD_HOSTNAME": "node7",
        "HOROVOD_RANK": "0",
        "HOROVOD_SIZE": "1",
        "HOROVOD_LOCAL_RANK": "0",
        "HOROVOD_LOCAL_SIZE": "1",
        "HOROVOD_CROSS_RANK": "0",
        "HOROVOD_CROSS_SIZE": "1",
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1",
        "HOROVOD_GLOO_IFACE": "lo",
    }


@pytest.mark.parametrize("place", [None, "tcp://127.0.0.1"])
def test_ranks_that_know_no_place_to_meet_are_told_how_to_name_one(place: str | None) -> None:
    from hpc_sr.comm.srun_gloo import rendezvous

    with (
        pytest.raises(LaunchError, match=r"no host or no port(?s:.*)MASTER_ADDR"),
        rendezvous(Launch("srun", 0, 1, 0, place), patience_s=10),
    ):
        pass


def test_ranks_that_do_not_meet_say_where_they_waited() -> None:
    from hpc_sr.comm.srun_gloo import rendezvous

    with (
        pytest.raises(LaunchError, match=r"rank 1 cannot meet the others at tcp://127.0.0.1:1 (?s:.*)MASTER_ADDR"),
        rendezvous(Launch("srun", 1, 2, 1, "tcp://127.0.0.1:1"), patience_s=1),
    ):
        pass
