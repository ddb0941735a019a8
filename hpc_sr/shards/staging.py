"""Staging: the shards that training reads, copied once per node to its own disk or memory, verified on the way.

    to/hpc_sr-UID-DIGEST/        manifest.json and the shards of a store; DIGEST is of its manifest, so that stores
                                 and users do not meet, and a store that was prepared again is another one
    to/hpc_sr-UID-DIGEST.lock    locked by every process that copies to or reads from the folder, of whatever job

The processes of a node meet in this folder alone, and the manifest in it is their agreement: the first of them writes
it if there is room, whoever cannot copy takes it away, and without it the folder is no store for any of them. Kernels
drop the locks of dead processes, so what a killed job left is found by the next one, and kept if it is whole.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hpc_sr.disk import partial_of, sha256_of, sweep_partials, write_atomically
from hpc_sr.errors import ChecksumError, HpcSrError, RecipeError
from hpc_sr.locks import lock, unlock
from hpc_sr.logs import Progress, logger
from hpc_sr.shards.reader import Store
from hpc_sr.shards.schema import ShardEntry

_SPLITS = ("train", "validation")
_BLOCK_BYTES = 4 << 20
#: Beyond the files themselves this share of them must be free: others write there too.
_MARGIN = 0.1


@dataclass(frozen=True)
class Staged:
    """The store to read from, and whether the ranks of this node have compared its checksums.

    Both are the same for all ranks of a node. A copy has no test shards.
    """

    store: Store
    verified: bool


@contextmanager
def staged(
    store_path: Path,
    to: str | Path | None,
    *,
    share: int,
    shares: int,
    barrier: Callable[[], None],
    shown: bool = False,
) -> Iterator[Staged]:
    """Give the store's training and validation shards as copies in the folder `to` for the time of the block.

    Every rank of every node calls it; `share` counts the `shares` ranks of this node, which divide the files, and
    `barrier` returns when all ranks of all nodes have called it. `to` may name variables of the environment. Copies
    that are there already are kept if their checksum is right, and removed afterwards by the last process that uses
    them. Where there is no room or copying fails, the node warns, verifies the store and reads it in place. Without
    `to` the store is read in place and not verified.

    Raises RecipeError if `to` names a variable that is not set; ManifestError if a shard is absent or of another size
    than listed; ChecksumError if the content of one is not what was written.
    """
    source = Store(store_path)
    if to is None:
        yield Staged(source, verified=False)
        return
    stage = _Stage(source, _folder(source, to), share, shares, shown)
    try:
        stage.attempt(stage.enter)
        barrier()
        stage.attempt(stage.copy)
        barrier()
        stage.attempt(stage.open)
        if stage.failure is not None:
            logger.warning("%s is not staged, this node reads it in place: %s", source.path, stage.failure)
            stage.leave()
            source.verify(share, shares)
        yield Staged(stage.copied or source, verified=True)
    finally:
        stage.leave()


def _folder(source: Store, to: str | Path) -> Path:
    """Return where the copies of a store lie."""
    parent = Path(os.path.expanduser(os.path.expandvars(to)))
    if "$" in str(parent) or str(parent).startswith("~"):
        raise RecipeError(
            f"{str(to)!r} names a variable or a user that {socket.gethostname()} does not know",
            where="train.stage",
            cure="set it, or give a folder that every node has, for example /dev/shm",
        )
    return parent / f"hpc_sr-{os.getuid()}-{sha256_of(source.path / 'manifest.json')[:16]}"


class _Stage:
    """One process's part in the folder of copies. `failure` is why this process reads in place."""

    def __init__(self, source: Store, folder: Path, share: int, shares: int, shown: bool):
        self._source, self._folder, self._shown = source, folder, shown
        self._is_first = share == 0
        for split in _SPLITS:
            source.split(split)  # raises if a file is absent or torn
        self._entries = [entry for split in _SPLITS for entry in source.manifest.splits[split]]
        self._own = self._entries[share::shares]
        self._lock: BinaryIO | None = None
        self.failure: str | None = None
        self.copied: Store | None = None

    def attempt(self, work: Callable[[], None]) -> None:
        """Do a part of the work unless an earlier one failed; keep why it failed, and tell the node's others."""
        if self.failure is None:
            try:
                work()
            except OSError as error:
                self.failure = str(error)
        if self.failure is not None:
            with suppress(OSError):
                (self._folder / "manifest.json").unlink()

    def enter(self) -> None:
        """Hold the folder. The first process of the node makes room and lets the others copy if there is enough."""
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        self._lock = lock(_lock_of(self._folder), shared=True, private=True, waiting=self._tell)
        _make_private(self._folder)
        if self._is_first:
            for folder in {(self._folder / entry.file).parent for entry in self._entries}:
                folder.mkdir(parents=True, exist_ok=True)
                sweep_partials(folder)
            self._find_room()
            manifest = (self._source.path / "manifest.json").read_bytes()
            write_atomically(self._folder / "manifest.json", manifest)

    def copy(self) -> None:
        """Copy this process's share of the files."""
        if not (self._folder / "manifest.json").exists():
            raise OSError("another process of this node found no room, or could not copy")
        size_bytes = sum(entry.bytes for entry in self._own)
        with Progress(size_bytes, len(self._own), "staged", self._shown) as progress:
            for entry in self._own:
                kept = self._is_there(entry) and sha256_of(self._folder / entry.file) == entry.sha256
                if not kept:
                    self._copy(entry)
                progress.advance(entry.bytes, f"{entry.file} was there" if kept else f"{entry.file} copied")

    def open(self) -> None:
        """Open the copies as a store."""
        try:
            copied = Store(self._folder)
            for split in _SPLITS:
                copied.split(split)
        except HpcSrError as error:
            raise OSError(f"another process of this node could not copy ({error.problem})") from error
        self.copied = copied

    def leave(self) -> None:
        """Let the folder go; the last process that does removes it."""
        if self._lock is not None:
            _let_go(self._folder, self._lock)
            self._lock = None

    def _tell(self, holders: str) -> None:
        logger.warning("waiting for %s to be let go of: it is held by %s", self._folder, holders)

    def _is_there(self, entry: ShardEntry) -> bool:
        path = self._folder / entry.file
        return path.exists() and path.stat().st_size == entry.bytes

    def _find_room(self) -> None:
        missing_bytes = sum(entry.bytes for entry in self._entries if not self._is_there(entry))
        needed_bytes = int(missing_bytes * (1 + _MARGIN))
        parent = self._folder.parent
        if needed_bytes > _free_bytes(parent):
            _remove_dead_stages(parent)
        free_bytes = _free_bytes(parent)
        if needed_bytes > free_bytes:
            told = f"it needs {needed_bytes:,} bytes, {free_bytes:,} are free"
            raise OSError(errno.ENOSPC, told, str(parent))

    def _copy(self, entry: ShardEntry) -> None:
        source, target = self._source.path / entry.file, self._folder / entry.file
        partial = partial_of(target)
        try:
            found = _copy_and_hash(source, partial)
            if found != entry.sha256:
                raise ChecksumError(
                    f"sha256 is {found[:12]}, the manifest says {entry.sha256[:12]}",
                    where=source,
                    cure="the shard is damaged: delete it and run `hpc-sr prepare` again",
                )
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)


def _copy_and_hash(source: Path, target: Path) -> str:
    """Copy a file and return the checksum of what was read; the disk has the copy when this returns."""
    digest, block = hashlib.sha256(), memoryview(bytearray(_BLOCK_BYTES))
    with source.open("rb", buffering=0) as file, target.open("wb") as copy:
        while count := file.readinto(block):
            digest.update(block[:count])
            copy.write(block[:count])
        copy.flush()
        os.fsync(copy.fileno())
    return digest.hexdigest()


def _make_private(folder: Path) -> None:
    """Make the folder, or see that it is ours: anybody may write to the folder that it lies in."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or folder.is_symlink():
        raise PermissionError(errno.EACCES, "belongs to somebody else", str(folder))


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _let_go(folder: Path, held: BinaryIO) -> None:
    """Let go of the folder; the last to do so removes it."""
    unlock(_lock_of(folder), held, lambda: shutil.rmtree(folder, ignore_errors=True))


def _remove_dead_stages(parent: Path) -> None:
    """Remove what this user's killed jobs left of any store."""
    ours = re.compile(rf"hpc_sr-{os.getuid()}-[0-9a-f]{{16}}\.lock")
    for path in parent.iterdir():
        if ours.fullmatch(path.name):
            with suppress(OSError):
                _let_go(path.with_suffix(""), lock(path, shared=True, private=True, patience_s=0))


def _free_bytes(folder: Path) -> int:
    """Return how much may be written: what the file system has, and if it lies in memory, what memory has."""
    free_bytes = shutil.disk_usage(folder).free
    return min(free_bytes, available_memory_bytes()) if _lies_in_memory(folder) else free_bytes


def _lies_in_memory(folder: Path) -> bool:
    device = folder.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts = (line.partition(" - ") for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return any(mount.split()[2] == number and kind.startswith(("tmpfs ", "ramfs ")) for mount, _, kind in mounts)


def available_memory_bytes() -> int:
    """Return how much memory programs may still take, without anything being swapped."""
    told = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    if told is None:
        raise OSError("/proc/meminfo does not tell how much memory is available")
    return int(told[1]) * 1024
