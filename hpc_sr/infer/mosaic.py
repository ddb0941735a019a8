"""The image in the making: a raw file that many ranks write into, and journals of what is in it.

    .NAME.partial/ mosaic.raw   bands x rows x columns of plain numbers, holes where nothing is yet
                   key.json     what decides the pixels
                   done.NNNN    a journal per rank: numbers of windows whose pixels are on the disk

A window's number is written down only after its pixels have been synced, so whoever finds the folder after a kill or
a power cut goes on from there, with any number of ranks. Ranks of several nodes need no more than a shared file
system. Written with `pwrite`: mapped pages would count as this process's memory.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from hpc_sr.errors import OutputError
from hpc_sr.infer.windows import Area
from hpc_sr.logs import write_atomically

#: Seconds between syncs: what a kill can cost.
_SYNC_EVERY_S = 5.0


class Mosaic:
    """A raw image (bands, rows, columns) in a folder beside the result. Every rank opens its own."""

    def __init__(self, out: Path, shape_CHW: tuple[int, int, int], dtype: str):
        self.folder = out.with_name(f".{out.name}.partial")
        self.raw, self._out = self.folder / "mosaic.raw", out
        self.shape, self.dtype = shape_CHW, np.dtype(dtype)

    @property
    def size_bytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def prepare(self, key: dict[str, object], overwrite: bool) -> None:
        """Make the folder, or find one that was begun with the same key. On one rank, before the others open it.

        Raises OutputError if windows of another key are in it (unless `overwrite`), or if it cannot be written.
        """
        text = json.dumps(key, sort_keys=True, indent=1)
        begun = self.folder / "key.json"
        if begun.exists() and begun.read_text(encoding="utf-8") == text and self._is_whole():
            return
        if begun.exists() and not overwrite and self.done():
            differing = _differing(begun, key)
            raise OutputError(
                f"was begun with other settings ({', '.join(differing) or 'its file is cut'})", where=self.folder,
                cure="give --overwrite to begin anew, or the settings of before to go on",
            )  # fmt: skip
        if begun.exists():
            with self.alone():
                pass
        with _telling(self._out):
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir()
            with self.raw.open("wb") as file:
                file.truncate(self.size_bytes)
            write_atomically(begun, text)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def done(self) -> set[int]:
        """Return the numbers of the windows that are on the disk, from all journals. A torn line is none."""
        found: set[int] = set()
        for journal in self.folder.glob("done.*"):
            found |= {int(line) for line in journal.read_text().splitlines() if re.fullmatch(r"\d{8}", line)}
        return found

    @contextmanager
    def alone(self, asked: bool = True) -> Iterator[None]:
        """Hold the folder: raises OutputError if another command holds it. A kill lets go of it.

        Seen by hosts whose file system shares locks. Of several ranks one asks.
        """
        if not asked:
            yield
            return
        with (self.folder / "key.json").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise OutputError(
                    "is being written by another command", where=self._out, cure="wait for it, or give another --out"
                ) from error
            except OSError:
                pass  # a file system without locks
            yield

    @contextmanager
    def writer(self, rank: int) -> Iterator[MosaicWriter]:
        """Lend what writes windows and notes them down; what it was given is on the disk when the block ends."""
        with _telling(self._out):
            writer = MosaicWriter(self, rank)
        try:
            yield writer
            writer.sync()
        finally:
            writer.close()

    def _is_whole(self) -> bool:
        return self.raw.exists() and self.raw.stat().st_size == self.size_bytes


class MosaicWriter:
    """One rank's hand on the mosaic. `writing_s` adds up what writing and syncing took."""

    def __init__(self, mosaic: Mosaic, rank: int):
        self._mosaic, self._noted = mosaic, []
        self._raw = os.open(mosaic.raw, os.O_WRONLY)
        self._journal = os.open(mosaic.folder / f"done.{rank:04d}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(self._journal, b"\n")  # ends a line that a kill has torn
        self._synced, self.writing_s = time.monotonic(), 0.0

    def write(self, number: int, values_CHW: np.ndarray, area: Area) -> None:
        """Write all bands of an area of the mosaic: window `number` is done with the next sync."""
        began = time.perf_counter()
        _, height, width = self._mosaic.shape
        itemsize = self._mosaic.dtype.itemsize
        assert values_CHW.dtype == self._mosaic.dtype and area.within(height, width) == area
        with _telling(self._mosaic.raw):
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
        with _telling(self._mosaic.raw):
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
    left = memoryview(pixels).cast("B")
    while left:
        written = os.pwrite(file, left, offset)
        left, offset = left[written:], offset + written


def _differing(begun: Path, key: dict[str, object]) -> list[str]:
    try:
        before = json.loads(begun.read_text(encoding="utf-8"))
    except ValueError:
        return ["its key cannot be read"]
    now = json.loads(json.dumps(key))
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


@contextmanager
def _telling(where: Path) -> Iterator[None]:
    """Turn the system's refusals into OutputError."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        cure = "free disk space, then run again: it goes on" if full else "give a folder that is writable"
        raise OutputError(f"cannot be written ({error.strerror})", where=where, cure=cure) from error
