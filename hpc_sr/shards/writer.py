"""Writing a shard: beside its name, then fsync, then rename, so a shard is whole or absent."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from hpc_sr.errors import OutputError
from hpc_sr.shards.schema import FORMAT_VERSION, ShardEntry, sha256_of


class ShardWriter:
    """Write one shard of a known number of patches in blocks. Use as a context manager.

    Leaving it normally puts the file under its name; leaving it by an exception removes what was written.
    The bytes depend on the content alone, never on when or where they were written.
    """

    def __init__(
        self, path: Path, layers: dict[str, dict[str, Any]], rows: int, attributes: dict[str, Any], layout: str
    ):
        self._path, self._rows, self._filled = path, rows, 0
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = h5py.File(self._partial, "w", libver="latest", locking=False)
        except OSError as error:
            raise OutputError(
                f"cannot be written ({error})", where=path, cure="give a writable store folder"
            ) from error
        self._file.attrs.update({"format_version": FORMAT_VERSION, **attributes})
        for name, layer in layers.items():
            shape = (rows, *layer["shape"])
            storage = (
                {"chunks": (1, *layer["shape"]), **hdf5plugin.Bitshuffle(cname="lz4")} if layout == "compact" else {}
            )
            dataset = self._file.create_dataset(name, shape, "<i2", track_times=False, **storage)
            dataset.attrs["bands"] = layer["bands"]
        self._file.create_dataset("origin", (rows, 2), "<i4", track_times=False)

    def append(self, patches: dict[str, np.ndarray], origin: np.ndarray) -> None:
        """Add a block of patches: a (n, C, H, W) int16 array per layer and their (n, 2) origins."""
        block = slice(self._filled, self._filled + len(origin))
        assert block.stop <= self._rows
        for name, values in patches.items():
            self._file[name][block] = values
        self._file["origin"][block] = origin
        self._filled = block.stop

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._file.close()
            if kind is None:
                assert self._filled == self._rows
                _flush_to_disk(self._partial)
                self._partial.replace(self._path)
        except OSError as failure:
            raise OutputError(f"cannot be written ({failure})", where=self._path, cure="free disk space") from failure
        finally:
            self._partial.unlink(missing_ok=True)

    def entry(self, store: Path, product: str) -> ShardEntry:
        """Return the finished shard's line for the manifest."""
        size = self._path.stat().st_size
        return ShardEntry(str(self._path.relative_to(store)), product, self._rows, size, sha256_of(self._path))


def _flush_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
