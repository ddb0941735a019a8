"""Writing a shard: beside its name, then fsync, then rename, so a shard is whole or absent."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from hpc_sr.disk import partial_of, sha256_of, telling
from hpc_sr.shards.schema import FORMAT_VERSION, Layer, ShardEntry

#: Layers and the smaller datasets begin at multiples of this.
_ALIGN_BYTES = 64


class ShardWriter:
    """Write one shard of a known number of patches in blocks. Use as a context manager.

    `products` are the names of those that the patches come from. Leaving the context normally puts the file under its
    name; leaving it by an exception removes what was written. The bytes depend on the content alone, never on when or
    where they were written. Raises OutputError if the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        layers: dict[str, Layer],
        rows: int,
        products: tuple[str, ...],
        attributes: dict[str, Any],
        layout: str,
    ):
        self._path, self._rows, self._products, self._filled = path, rows, products, 0
        self._partial = partial_of(path)
        with telling(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._target = _Target(self._partial, "w+")
        # numpy copies all of an array that begins at an odd address before it takes rows of it.
        align = {"alignment_threshold": _ALIGN_BYTES, "alignment_interval": _ALIGN_BYTES}
        self._file = h5py.File(self._target, "w", libver="latest", **align)
        self._file.attrs.update({"format_version": FORMAT_VERSION, "products": list(products), **attributes})
        for name, layer in layers.items():
            shape = (rows, *layer["shape"])
            storage = (
                {"chunks": (1, *layer["shape"]), **hdf5plugin.Bitshuffle(cname="lz4")} if layout == "compact" else {}
            )
            dataset = self._file.create_dataset(name, shape, "<i2", track_times=False, **storage)
            dataset.attrs["bands"] = layer["bands"]
        self._file.create_dataset("origin", (rows, 2), "<i4", track_times=False)
        self._file.create_dataset("product", (rows,), "<i4", track_times=False)

    def append(self, patches: dict[str, np.ndarray], origin: np.ndarray, product: np.ndarray | int = 0) -> None:
        """Add a block of patches: a (n, C, H, W) int16 array per layer, their (n, 2) origins, and whose they are.

        `product` numbers the writer's `products`, one number a patch or one for all.
        """
        block = slice(self._filled, self._filled + len(origin))
        assert block.stop <= self._rows
        for name, values in patches.items():
            self._file[name][block] = values
        self._file["origin"][block] = origin
        self._file["product"][block] = product
        self._filled = block.stop
        self._raise_failure()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._file.close()
            if kind is None:
                self._raise_failure()
                assert self._filled == self._rows
                self._target.put_in_place(self._path)
                self._raise_failure()
        finally:
            self._target.close()
            self._partial.unlink(missing_ok=True)

    def entry(self, store: Path) -> ShardEntry:
        """Return the finished shard's line for the manifest."""
        with telling(self._path, doing="read"):
            size, sha256 = self._path.stat().st_size, sha256_of(self._path)
        return ShardEntry(str(self._path.relative_to(store)), self._products, self._rows, size, sha256)

    def _raise_failure(self) -> None:
        failure = self._target.failure
        if failure is not None:
            with telling(self._path):
                raise failure


class _Target(io.FileIO):
    """A file that keeps its first failure to itself, and writes nothing afterwards.

    HDF5 must not see it: it tells of some failed writes nowhere, and a file that it cannot close ends the process.
    """

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of the data, or keep why not."""
        left = memoryview(data).cast("B")
        size = len(left)
        while len(left) and self.failure is None:
            with self._kept():
                left = left[super().write(left) :]
        return size

    def truncate(self, size: int | None = None) -> int:
        """Set the size, or keep why not."""
        if self.failure is None:
            with self._kept():
                super().truncate(size)
        return size or 0

    def put_in_place(self, path: Path) -> None:
        """Wait until the disk has the file, then give it its name, or keep why not."""
        with self._kept():
            os.fsync(self.fileno())
            Path(str(self.name)).replace(path)

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as failure:
            self.failure = failure
