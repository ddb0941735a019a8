"""Locks that tell who holds them: files that the kernel unlocks when their process ends, however it ends.

A lock file is made by who comes first, holds a line a holder, and is removed by who leaves last. It is seen by all
hosts whose file system shares locks.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from hpc_sr.disk import is_alive

#: What a file system without locks answers.
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_POLL_S = 0.1


def lock(
    path: Path,
    *,
    shared: bool = False,
    private: bool = False,
    patience_s: float = math.inf,
    waiting: Callable[[str], object] = lambda holders: None,
) -> BinaryIO:
    """Return a lock file, opened and locked; with `shared`, others may have it as well that ask for it so.

    If others hold it, `waiting` is called once with who they are; after `patience_s` BlockingIOError tells the same.
    `private`: no other user may read or lock the file. Raises OSError if it cannot be made, or, with a number of
    NO_LOCKS, if the file system has no locks.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    began, told = time.monotonic(), False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600 if private else 0o666)
        file = os.fdopen(descriptor, "r+b", buffering=0)
        try:
            if _taken(file, path, kind):
                _sign(file, alone=not shared)
                return file
        except BaseException:
            file.close()
            raise
        holders = _holders(file)
        file.close()
        if time.monotonic() - began >= patience_s:
            raise BlockingIOError(errno.EWOULDBLOCK, f"is held by {holders}", str(path))
        if not told:
            waiting(holders)
            told = True
        time.sleep(_POLL_S)


def unlock(path: Path, file: BinaryIO, clean_up: Callable[[], object] = lambda: None) -> None:
    """Let go of a lock; who is the last to do so cleans up, still alone, and removes the file."""
    with file, suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        clean_up()
        path.unlink()


def _taken(file: BinaryIO, path: Path, kind: int) -> bool:
    """Take the lock if nobody else has it and the file is still there: its last holder may have removed it since."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _sign(file: BinaryIO, alone: bool) -> None:
    """Write down who holds the lock; who is alone with it takes out those who held it before."""
    with suppress(OSError):  # a full disk does not keep anybody from locking
        if alone:
            file.truncate(0)
        file.write(f"{socket.gethostname()} {os.getpid()} {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())


def _holders(file: BinaryIO) -> str:
    """Return who has signed and may still live, as process, host and since when."""
    file.seek(0)
    signed = re.findall(r"^(\S+) (\d+) (.+)$", file.read(1 << 16).decode("utf-8", "replace"), re.MULTILINE)
    here = socket.gethostname()
    living = [
        f"process {pid} on {host} since {since}" for host, pid, since in signed if host != here or is_alive(int(pid))
    ]
    return " or ".join(living) or "another process"
