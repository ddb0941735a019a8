"""Horovod's elastic mode: when ranks are lost or come, the world is formed anew and the work begins again."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import horovod.torch as hvd
import torch
from horovod.common.elastic import State
from horovod.common.exceptions import HorovodInternalError, HostsUpdatedInterrupt
from horovod.torch import elastic

from hpc_sr.comm.communicator import Comm
from hpc_sr.comm.failure import failing_together
from hpc_sr.comm.horovod import HorovodComm
from hpc_sr.comm.launchers import describe_launch
from hpc_sr.comm.meeting import bounded_meeting
from hpc_sr.comm.options import CommOptions
from hpc_sr.errors import RecipeError

T = TypeVar("T")


class _OnDisk(State):
    """What Horovod keeps over a change of the world: nothing, as the work resumes from its newest checkpoint."""

    def __init__(self) -> None:
        super().__init__(hvd.broadcast_object, hvd.rank)

    @property
    def hosts_changed(self) -> bool:
        """Whether the launcher has told this process of other hosts since the world was formed: it tells rank 0."""
        return not self._host_messages.empty()

    def save(self) -> None:
        pass

    def restore(self) -> None:
        pass

    def sync(self) -> None:
        pass


class ElasticComm(HorovodComm):
    """The ranks of one of several worlds that follow each other; also one rank left alone is one."""

    def __init__(self, device: torch.device, options: CommOptions, state: _OnDisk):
        super().__init__(device, options)
        self._state = state

    @property
    def world_changes(self) -> bool:
        return self._state.hosts_changed


def run_elastically(work: Callable[[Comm], T], options: CommOptions, device: torch.device) -> T:
    """Return what `work` returns in the last world: one in which it ends and the hosts have not changed.

    A rank that is lost shows as HorovodInternalError in the others' next collective, inside `backward` too. They form
    a new world and call `work` again, which goes on from its newest checkpoint. The same happens when `work` returns
    early, on all ranks, because one saw `world_changes`.
    """
    if options.backend not in ("auto", "horovod"):
        raise RecipeError(
            f"is {options.backend}, but horovodrun started an elastic world",
            where="comm.backend",
            cure="choose auto or horovod, or start without --host-discovery-script",
        )

    def in_one_world(state: _OnDisk) -> T:
        with bounded_meeting(describe_launch(os.environ), options.stall_s):
            comm = ElasticComm(device, options, state)
        try:
            with failing_together(comm, let_pass=(HorovodInternalError, HostsUpdatedInterrupt)):
                result = work(comm)
                if comm.any(comm.world_changes):
                    raise HostsUpdatedInterrupt(skip_sync=True)
                comm.close()
            return result
        finally:
            comm.watch_no_longer()

    return elastic.run(in_one_world)(_OnDisk())
