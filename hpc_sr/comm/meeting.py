"""How ranks that no launcher introduces to each other come to a common store.

The system chooses the port of the store on rank 0's host. Rank 0 tells it, with the launch's name, at its door: the
first free one of a row of ports that all ranks know. What else listens at a port of that row does not say that name, so
the ranks go on to the next port, as rank 0 had to. A port that is taken moves every rank, or none.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from torch.distributed import Store, TCPStore
from torch.distributed.rendezvous import rendezvous

from hpc_sr.comm.launchers import Launch, MeetingPlace
from hpc_sr.comm.watchdog import Watchdog
from hpc_sr.errors import LaunchError, LostRankError

#: How long a rank listens for an answer at one door.
_ANSWER_S = 1.0
#: How long a rank that has found no door waits before it goes round again, the first time and after many times.
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.05, 1.0
_ADDRESS = "MASTER_ADDR (a name of rank 0's host that all hosts reach) and MASTER_PORT (a free one)"
_CURE = f"look at the other ranks' last lines, and run again; if none of them has failed, export {_ADDRESS}"


@contextmanager
def bounded_meeting(launch: Launch, limit_s: float) -> Iterator[None]:
    """Let the block, in which the ranks meet, last no longer than `limit_s`: then end this process with code 1."""
    if launch.world_size == 1:
        yield
        return
    watchdog = Watchdog(f"rank {launch.rank} of {launch.world_size}", limit_s, _CURE)
    try:
        with watchdog.over(f"the meeting of the ranks{_at(launch)}"):
            yield
    finally:
        watchdog.end()


@contextmanager
def common_store(launch: Launch, patience_s: float) -> Iterator[Store]:
    """Lend the store of a launch's ranks; all of them must be at it before rank 0 leaves the block. Collective.

    Raises LaunchError if nobody tells rank 0's host, it is none, or no port of the row is free, LostRankError if a rank
    goes away. A rank that waits at a door waits for ever: see bounded_meeting.
    """
    try:
        yield from _store(launch, timedelta(seconds=patience_s))
    except (RuntimeError, EOFError) as error:
        raise LostRankError(
            f"rank {launch.rank} has lost the others in their meeting{_at(launch)} ({error})", cure=_CURE
        ) from error


def _store(launch: Launch, patience: timedelta) -> Iterator[Store]:
    place = launch.rendezvous
    if place is None:
        yield _agents_store(launch, patience)
        return
    _check_resolves(place)
    if launch.rank == 0:
        store = TCPStore(place.host, 0, launch.world_size, True, patience, wait_for_workers=False)
        with _opened_door(place, store.port):
            yield store
    else:
        yield TCPStore(place.host, _told_port(place), launch.world_size, False, patience, wait_for_workers=False)


def _agents_store(launch: Launch, patience: timedelta) -> Store:
    """Return the store of torchrun's agent."""
    if launch.launcher != "torchrun":
        raise LaunchError(
            f"{launch.launcher} does not tell the ranks where rank 0 is",
            where="MASTER_ADDR",
            cure="export MASTER_ADDR=<rank 0's host> (mpirun: -x MASTER_ADDR), or start with torchrun",
        )
    try:
        return next(rendezvous("env://", launch.rank, launch.world_size, timeout=patience))[0]
    except ValueError as error:
        raise LaunchError(str(error), where="torchrun", cure="start the ranks with torchrun, not by hand") from error


def _check_resolves(place: MeetingPlace) -> None:
    """Raise LaunchError now if no host has the name: torch would ask again for ten minutes."""
    try:
        socket.getaddrinfo(place.host, None)
    except OSError as error:
        raise LaunchError(
            f"the ranks cannot meet at {place.host} ({error})", where="MASTER_ADDR", cure=f"export {_ADDRESS}"
        ) from error


@contextmanager
def _opened_door(place: MeetingPlace, store_port: int) -> Iterator[None]:
    """Tell everybody who comes the launch's name and the store's port."""
    door = _first_free(place)
    words = f"{place.name} {store_port}\n".encode()
    threading.Thread(target=_greet, args=(door, words), name="door", daemon=True).start()
    try:
        yield
    finally:
        door.shutdown(socket.SHUT_RDWR)  # closing alone would not end the thread's waiting
        door.close()


def _first_free(place: MeetingPlace) -> socket.socket:
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    for port in place.ports:
        try:
            return socket.create_server(("", port), family=family, backlog=1024, dualstack_ipv6=both)
        except OSError as error:
            trouble = error
            if error.errno != errno.EADDRINUSE:
                break
    raise LaunchError(
        f"rank 0 cannot listen at port {' or '.join(map(str, place.ports))} of {socket.gethostname()} ({trouble})",
        where="MASTER_PORT",
        cure="export MASTER_PORT=<a free port of rank 0's host> for all ranks, or unset it: then one is found",
    )


def _greet(door: socket.socket, words: bytes) -> None:
    with suppress(OSError):  # the door is closed
        while True:
            visitor, _ = door.accept()
            with visitor, suppress(OSError):  # the visitor has gone
                visitor.sendall(words)


def _told_port(place: MeetingPlace) -> int:
    """Return what is told at the launch's own door, once it is open."""
    pause_s = _FIRST_PAUSE_S
    while True:
        for port in place.ports:
            with suppress(OSError), socket.create_connection((place.host, port), timeout=_ANSWER_S) as door:
                name, _, told = door.makefile("rb").readline(1000).decode(errors="replace").rpartition(" ")
                if name == place.name and told.endswith("\n"):
                    return int(told)
        time.sleep(pause_s)
        pause_s = min(1.5 * pause_s, _LAST_PAUSE_S)


def _at(launch: Launch) -> str:
    return "" if launch.rendezvous is None else f" at {launch.rendezvous}"
