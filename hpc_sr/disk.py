"""Files and folders on the disk: whole or absent, flushed before they get their names, told apart by checksum."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpc_sr.errors import OutputError


def sha256_of(path: Path) -> str:
    """Return the checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _by_blocks(file)


def _by_blocks(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def check_writable(path: Path) -> None:
    """Raise OutputError before hours of work end at a file that cannot be written."""
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise OutputError("cannot be written", where=path, cure="give a file in a folder that exists and is writable")


def flush_to_disk(path: Path) -> None:
    """Wait until what a file or a folder holds is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write a file so that it is whole or absent: beside the target, fsync, rename. Text is UTF-8."""
    path = Path(path)
    partial = _beside(path)
    try:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Lend an empty folder that becomes `target` at the end of the block: written beside, flushed, renamed.

    If the block raises, nothing is left. `replace` removes a folder that has the name already; without it
    OutputError is raised if there is one.
    """
    partial = _beside(target)
    try:
        partial.mkdir(parents=True)
        yield partial
        for file in [*partial.iterdir(), partial]:
            flush_to_disk(file)
        if target.exists():
            if not replace:
                raise OutputError("is there already", where=target, cure="remove it or give another name")
            shutil.rmtree(target)
        partial.replace(target)
        flush_to_disk(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _beside(target: Path) -> Path:
    """Return the name of what is being written: of this process alone, on any host that shares the file system."""
    return target.with_name(f".{target.name}.{socket.gethostname()}-{os.getpid()}.partial")
