"""Files and folders on the disk: written whole or not at all, read within limits, told apart by checksum.

A process writes beside the target, as `.NAME.HOST-PID.partial`, and renames at the end. What a kill has left says by
its name who left it, so the next process can remove it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import socket
import stat
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_sr.errors import HpcSrError, OutputError

if TYPE_CHECKING:
    import numpy as np

#: More than any description of ours holds: cards, records, evaluations.
_MOST_BYTES = 256 << 20


def sha256_of(path: Path) -> str:
    """Return the checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _by_blocks(file)


def _by_blocks(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


class Sums:
    """The checksums of files, made in threads while the next file is written. Use as a context manager.

    Each file is flushed to the disk at the same time: the disk takes longest, so it begins early.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor()
        self._sums: dict[str, Future[str]] = {}
        self._flushed: list[Future[None]] = []

    def __enter__(self) -> Sums:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()

    def add(self, *files: Path) -> None:
        """Begin to sum up and to flush files that are complete, but for those that were given before."""
        for file in files:
            if file.name in self._sums:
                continue
            self._flushed.append(self._threads.submit(flush_to_disk, file))
            self._sums[file.name] = self._threads.submit(sha256_of, file)

    def text(self) -> str:
        """Return the list that `sha256sum -c` reads, when all files are on the disk. Raises what a thread raised."""
        for flushed in self._flushed:
            flushed.result()
        return "".join(f"{digest.result()}  {name}\n" for name, digest in sorted(self._sums.items()))


def is_there(path: str | Path) -> bool:
    """Return whether the path is taken, if only by a link that leads nowhere; what cannot be looked at counts."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True
    return True


@contextmanager
def telling(where: str | Path, kind: type[HpcSrError] = OutputError, doing: str = "written") -> Iterator[None]:
    """Turn what the system refuses in the block into an error that names the file and a cure that fits."""
    try:
        yield
    except OSError as refusal:
        raise kind(f"cannot be {doing} ({refusal})", where=where, cure=_cure_of(refusal)) from refusal


def _cure_of(refusal: OSError) -> str:
    if refusal.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "free disk space, then run again"
    if refusal.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "give a place that you have the right to, or ask for it"
    if refusal.errno in (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP):
        return "give another path"
    return "look at the file system, then run again"


def read_file(path: str | Path, kind: type[HpcSrError], cure: str, most_bytes: int = _MOST_BYTES) -> bytes:
    """Return what a regular file of at most `most_bytes` holds. Raises `kind` for anything else, without waiting."""
    size = size_of(path, kind, cure, most_bytes)
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError as error:
        raise kind(f"cannot be read ({error})", where=path, cure=cure) from error


def size_of(path: str | Path, kind: type[HpcSrError], cure: str, most_bytes: int = _MOST_BYTES) -> int:
    """Return the size of a file before it is opened. Raises `kind` for what would wait, as a pipe, or may not end."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise kind(f"cannot be read ({error})", where=path, cure=cure) from error
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
        raise kind(f"is {what}, not a file", where=path, cure=cure)
    if found.st_size > most_bytes:
        raise kind(f"has {found.st_size:,} bytes, more than {most_bytes:,}", where=path, cure=cure)
    return found.st_size


def read_json(path: str | Path, kind: type[HpcSrError], cure: str, most_bytes: int = _MOST_BYTES) -> dict[str, Any]:
    """Return the object in a JSON file. Raises `kind` if it cannot be read, or is none."""
    text = read_file(path, kind, cure, most_bytes)
    try:
        content = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise kind(f"is not JSON ({error})", where=path, cure=cure) from error
    if not isinstance(content, dict):
        raise kind(f"holds a {type(content).__name__}, not an object", where=path, cure=cure)
    return content


def read_arrays(
    path: str | Path, names: tuple[str, ...] | None, kind: type[HpcSrError], cure: str, most_bytes: int = _MOST_BYTES
) -> dict[str, np.ndarray]:
    """Return the arrays of these names, or all, of an .npz file that unpacks to at most `most_bytes`.

    Raises `kind` for a file that is empty, damaged, something else, or holds objects: those are code.
    """
    import zipfile
    import zlib

    import numpy as np

    size_of(path, kind, cure, most_bytes)
    try:
        with np.load(path, allow_pickle=False) as held:
            if not isinstance(held, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array")
            assert held.zip is not None, "it is open"
            size = sum(member.file_size for member in held.zip.infolist())
            if size > most_bytes:
                raise ValueError(f"it unpacks to {size:,} bytes")
            arrays = {name: held[name] for name in (held.files if names is None else names)}
            if not all(isinstance(array, np.ndarray) for array in arrays.values()):
                raise ValueError("a member is no array")
            return arrays
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, MemoryError) as error:
        raise kind(f"is damaged, or no .npz ({error})", where=path, cure=cure) from error
    except (ValueError, KeyError, TypeError, AttributeError, SyntaxError, RuntimeError, OverflowError) as error:
        raise kind(f"does not hold what it should ({error})", where=path, cure=cure) from error


def check_path(path: Path) -> None:
    """Raise OutputError for what no file can be called: too long a name, or one with a NUL."""
    with telling(path), suppress(FileNotFoundError, NotADirectoryError):
        try:
            os.lstat(path)
        except ValueError as error:
            raise OutputError(f"{str(path)!r} cannot be written ({error})", cure="give another path") from error


def check_writable(path: Path) -> None:
    """Raise OutputError before hours of work end at a file that cannot be written."""
    check_path(path)
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
    partial = partial_of(path)
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
    OutputError is raised if there is one, and for a path without a name. What killed processes left of the same
    target is swept.
    """
    check_path(target)
    if not target.name:  # the current folder, or the root
        raise OutputError("is there already", where=target, cure="give another name")
    partial = partial_of(target)
    try:
        sweep_partials(target.parent, target.name)
        partial.mkdir(parents=True)
        yield partial
        with ThreadPoolExecutor() as threads:  # a file system commits together what is waited for together
            list(threads.map(flush_to_disk, [*partial.iterdir(), partial]))
        if target.exists():
            if not replace:
                raise OutputError("is there already", where=target, cure="remove it or give another name")
            shutil.rmtree(target)
        partial.replace(target)
        flush_to_disk(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def partial_of(target: Path) -> Path:
    """Return the name of what is being written: of this process alone, on any host that shares the file system."""
    return target.with_name(f".{target.name}.{socket.gethostname()}-{os.getpid()}.partial")


def sweep_partials(folder: Path, name: str = "*") -> list[Path]:
    """Remove the files and folders that killed processes of this host left half-written in a folder; return them.

    `name` limits it to what was to become one file or folder. What living processes and other hosts write stays, and
    so does what is not ours to remove.
    """
    left = re.compile(rf"\.(.+)\.{re.escape(socket.gethostname())}-(\d+)\.partial")
    swept = []
    for path in sorted(folder.glob(".*.partial")):
        told = left.fullmatch(path.name)
        if told and name in ("*", told[1]) and not is_alive(int(told[2])) and _removed(path):
            swept.append(path)
    return swept


def _removed(path: Path) -> bool:
    try:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    except OSError:
        return False
    return True


def is_alive(pid: int) -> bool:
    """Return whether this host runs a process of this number; one that has ended and waits for its parent does not."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    try:
        # Behind the program's name, which may hold anything: Z has ended (a killed rank, until someone asks for it).
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (OSError, IndexError):
        return True  # a system without /proc
