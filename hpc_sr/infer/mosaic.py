"""The image in the making: a raw file that many ranks write into, and journals of what is in it.

    .NAME.partial/ lock         held by the command that is at it
                   mosaic.raw   bands x rows x columns of plain numbers, holes where nothing is yet
                   key.json     what decides the pixels
                   done.NNNN    a journal per rank: numbers of windows whose pixels are on the disk

A window's number is written down only after its pixels have been synced, so whoever finds the folder after a kill or
a power cut goes on from there, with any number of ranks. Ranks of several nodes need no more than a shared file
system. Written with `pwrite`: mapped pages would count as this process's memory.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

import numpy as np

from hpc_sr.disk import is_there, read_file, read_json, write_atomically
from hpc_sr.errors import OutputError
from hpc_sr.infer.windows import Area
from hpc_sr.locks import NO_LOCKS, lock

#: Seconds between syncs: what a kill can cost.
_SYNC_EVERY_S = 5.0


class Mosaic:
    """A raw image (bands, rows, columns) in a folder beside the result. Every rank opens its own."""

    def __init__(self, out: Path, shape_CHW: tuple[int, int, int], dtype: str):
        self.folder = out.with_name(f".{out.name}.partial")
        self.raw, self._lock, self._out = self.folder / "mosaic.raw", self.folder / "lock", out
        self.shape, self.dtype = shape_CHW, np.dtype(dtype)

    @property
    def size_bytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def prepare(self, key: dict[str, object], overwrite: bool) -> None:
        """Begin, or find what was begun with the same key. On the rank that holds the folder, before others open it.

        Raises OutputError if windows of another key are in it (unless `overwrite`), or if it cannot be written.
        """
        text = json.dumps(key, sort_keys=True, indent=1)
        begun, now = self.folder / "key.json", json.loads(text)
        before = _key_in(begun)
        if before == now and self._is_whole():
            return
        if is_there(begun) and not overwrite and self.done():
            differing = [] if before is None else sorted(k for k in before | now if before.get(k) != now.get(k))
            why = "its key cannot be read" if before is None else ", ".join(differing) or "its file is cut"
            raise OutputError(
                f"was begun with other settings ({why})",
                where=self.folder,
                cure="give --overwrite to begin anew, or the settings of before to go on",
            )
        with telling(self._out):
            self._clear()
            with self.raw.open("wb") as file:
                file.truncate(self.size_bytes)
            write_atomically(begun, text)

    def remove(self) -> None:
        """Remove the folder, which this command must hold. The lock goes last, so no other command enters before."""
        with suppress(OSError):
            self._clear()
            self._lock.unlink()
            self.folder.rmdir()

    def remove_leftover(self) -> None:
        """Remove what a kill has left, unless another command is at it."""
        if self.folder.exists():
            with suppress(OutputError), self.alone():
                self.remove()

    def done(self) -> set[int]:
        """Return the numbers of the windows that are on the disk, from all journals. A torn line is none."""
        found: set[int] = set()
        for journal in self.folder.glob("done.*"):
            lines = read_file(journal, OutputError, "give --overwrite to begin anew").split(b"\n")
            found |= {int(line) for line in lines if re.fullmatch(rb"\d{8}", line)}
        return found

    @contextmanager
    def alone(self, asked: bool = True) -> Iterator[None]:
        """Hold the folder, made if absent: raises OutputError if another command holds it. A kill lets go of it.

        An error before anything is done removes it. Seen by hosts whose file system shares locks. Of several
        ranks one asks.
        """
        if not asked:
            yield
            return
        with self._held():
            try:
                yield
            except BaseException:
                with suppress(OSError):
                    if not self.done():
                        self.remove()
                raise

    @contextmanager
    def writer(self, rank: int) -> Iterator[MosaicWriter]:
        """Lend what writes windows and notes them down; what it was given is on the disk when the block ends."""
        with telling(self._out):
            writer = MosaicWriter(self, rank)
        try:
            yield writer
            writer.sync()
        finally:
            writer.close()

    def _held(self) -> AbstractContextManager[object]:
        """Return the folder's lock, the folder made if absent; of a file system without locks nothing."""
        with telling(self._out):
            self.folder.mkdir(exist_ok=True)
            try:
                return lock(self._lock, patience_s=0)
            except BlockingIOError as held:
                raise OutputError(
                    f"is being written by another command: the lock {held.strerror}",
                    where=self._out,
                    cure="wait for it, or give another --out",
                ) from held
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                return nullcontext()

    def rows(self, index: int) -> Iterator[np.ndarray]:
        """Yield the rows (W,) of a band, counted from 0."""
        _, height, width = self.shape
        with self.raw.open("rb") as file:
            file.seek(index * height * width * self.dtype.itemsize)
            for _ in range(height):
                yield np.fromfile(file, self.dtype, width)

    def _clear(self) -> None:
        """Remove all but the lock."""
        for path in self.folder.iterdir():
            if path != self._lock:
                path.unlink()

    def _is_whole(self) -> bool:
        return self.raw.exists() and self.raw.stat().st_size == self.size_bytes


class MosaicWriter:
    """One rank's hand on the mosaic. `writing_s` adds up what writing and syncing took."""

    def __init__(self, mosaic: Mosaic, rank: int):
        self._mosaic = mosaic
        self._noted: list[int] = []
        self._raw = os.open(mosaic.raw, os.O_WRONLY)
        self._journal = os.open(mosaic.folder / f"done.{rank:04d}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.write(self._journal, b"\n")  # ends a line that a kill has torn
        self._synced, self.writing_s = time.monotonic(), 0.0

    def write(self, number: int, values_CHW: np.ndarray, area: Area) -> None:
        """Write all bands of an area of the mosaic: window `number` is done with the next sync."""
        began = time.perf_counter()
        _, height, width = self._mosaic.shape
        itemsize = self._mosaic.dtype.itemsize
        assert values_CHW.dtype == self._mosaic.dtype and area.within(height, width) == area
        with telling(self._mosaic.raw):
            for index, plane in enumerate(np.ascontiguousarray(values_CHW)):
                for row, pixels in enumerate(plane, start=area.row):
                    _pwrite(self._raw, pixels, ((index * height + row) * width + area.column) * itemsize)
        self._noted.append(number)
        self.writing_s += time.perf_counter() - began
        if time.monotonic() - self._synced > _SYNC_EVERY_S:
            self.sync()

    def sync(self) -> None:
        """Bring pixels, then their windows' numbers, to the disk."""
        began = time.perf_counter()
        with telling(self._mosaic.raw):
            os.fdatasync(self._raw)
            os.write(self._journal, "".join(f"{number:08d}\n" for number in self._noted).encode())
            os.fdatasync(self._journal)
        self._noted.clear()
        self._synced = time.monotonic()
        self.writing_s += time.perf_counter() - began

    def close(self) -> None:
        os.close(self._raw)
        os.close(self._journal)


def _pwrite(file: int, pixels: np.ndarray, offset: int) -> None:
    left = pixels.data.cast("B")
    while left:
        written = os.pwrite(file, left, offset)
        left, offset = left[written:], offset + written


def _key_in(begun: Path) -> dict[str, object] | None:
    """Return what was begun, None if it cannot be read."""
    try:
        return read_json(begun, OutputError, "remove it")
    except OutputError:
        return None


@contextmanager
def telling(where: Path) -> Iterator[None]:
    """Turn the system's refusals into OutputError."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        cure = "free disk space, then run again: it goes on" if full else "give a folder that is writable"
        raise OutputError(f"cannot be written ({error.strerror})", where=where, cure=cure) from error
