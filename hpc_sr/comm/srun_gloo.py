"""Horovod over Gloo for ranks that srun started: no MPI, no PMIx, no ssh, no horovodrun.

What horovodrun does for its ranks, they do here by themselves: rank 0 serves Horovod's rendezvous, and all learn
through a torch store where it is and who lies on which host.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from horovod.runner.common.util.hosts import SlotInfo
from horovod.runner.http.http_server import RendezvousServer

from hpc_sr.comm.launchers import Launch
from hpc_sr.comm.meeting import common_store


@contextmanager
def rendezvous(launch: Launch, patience_s: float) -> Iterator[None]:
    """Lend an environment in which `hvd.init` finds all ranks of the launch over Gloo. Collective.

    Rank 0's server lives until its process ends. GLOO_SOCKET_IFNAME names the network interface, as for ddp.
    Raises as common_store does.
    """
    variables = _meet(launch, patience_s)
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        # Otherwise this process, and those it starts, would look like horovodrun's.
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def slots(hosts: Sequence[str]) -> list[SlotInfo]:
    """Return each rank's place, given each rank's host; ranks of a host need not follow each other.

    Horovod's local ranks count in rank order on a host; its cross ranks count the hosts, in order of their first
    rank, that have such a local rank.
    """
    local_ranks = [list(hosts[:rank]).count(host) for rank, host in enumerate(hosts)]
    order = list(dict.fromkeys(hosts))
    places = []
    for rank, (host, local_rank) in enumerate(zip(hosts, local_ranks, strict=True)):
        across = [other for other in order if hosts.count(other) > local_rank]
        places.append(
            SlotInfo(
                hostname=host,
                rank=rank,
                local_rank=local_rank,
                cross_rank=across.index(host),
                size=len(hosts),
                local_size=hosts.count(host),
                cross_size=len(across),
            )
        )
    return places


def _meet(launch: Launch, patience_s: float) -> dict[str, str]:
    """Return the variables of this rank, rank 0's rendezvous server being there."""
    with common_store(launch, patience_s) as store:
        # Hosts that share a machine (a private cluster) have names of their own in Slurm only.
        store.set(f"host{launch.rank}", os.environ.get("SLURMD_NODENAME") or socket.gethostname())
        hosts = [store.get(f"host{rank}").decode() for rank in range(launch.world_size)]
        places = slots(hosts)
        if launch.rank == 0:
            server = RendezvousServer()
            port = server.start()
            server.init(places)
            store.set("port", str(port))
        port = int(store.get("port"))
        # Rank 0 holds the store, so it leaves last.
        if store.add("left", 1) == launch.world_size:
            store.set("all_left", "")
        if launch.rank == 0:
            store.get("all_left")
    assert launch.rendezvous is not None
    return _variables(places[launch.rank], launch.rendezvous.host, port, os.environ)


def _variables(place: SlotInfo, address: str, port: int, environ: Mapping[str, str]) -> dict[str, str]:
    variables = {
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
        "HOROVOD_HOSTNAME": place.hostname,
        "HOROVOD_RANK": str(place.rank),
        "HOROVOD_SIZE": str(place.size),
        "HOROVOD_LOCAL_RANK": str(place.local_rank),
        "HOROVOD_LOCAL_SIZE": str(place.local_size),
        "HOROVOD_CROSS_RANK": str(place.cross_rank),
        "HOROVOD_CROSS_SIZE": str(place.cross_size),
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": address,
        "HOROVOD_GLOO_RENDEZVOUS_PORT": str(port),
    }
    if "GLOO_SOCKET_IFNAME" in environ:
        variables["HOROVOD_GLOO_IFACE"] = environ["GLOO_SOCKET_IFNAME"]
    return variables
