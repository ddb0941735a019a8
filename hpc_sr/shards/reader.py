"""Reading shards: rows of a layer into memory, at the speed of memcpy where the layout allows it.

Contiguous datasets are read through numpy.memmap at their offset in the file: no lock, no copy, safe across fork.
Compact ones (bitshuffle + lz4, one chunk a patch) go through h5py row by row; h5py's fancy indexing is never used, it
is tens of times slower. Files open on first use in the process that uses them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  registers the filters of the compact layout
import numpy as np

from hpc_sr.disk import is_there, sha256_of, telling
from hpc_sr.errors import ChecksumError, HpcSrError, ManifestError, StoreError
from hpc_sr.shards.schema import FORMAT_VERSION, Layer, Manifest, ShardEntry, read_manifest


class ShardReader:
    """One shard, opened lazily. May be pickled and used after fork: each process opens it anew."""

    def __init__(self, path: Path, rows: int, layers: dict[str, Layer]):
        self.path, self.rows, self._layers = path, rows, layers
        self._pid: int | None = None
        self._datasets: dict[str, Any] = {}

    def take(self, layer: str, rows: np.ndarray, out: np.ndarray) -> None:
        """Copy the given rows of a layer into `out` (n, C, H, W) int16."""
        dataset = self._dataset(layer)
        if isinstance(dataset, np.memmap) and dataset.flags.aligned:
            np.take(dataset, rows, axis=0, out=out, mode="clip")
        elif isinstance(dataset, np.memmap):
            out[...] = dataset[rows]  # twice the copying, but `take` would copy the whole dataset first
        else:
            with _naming_damage(self.path):
                for place, row in enumerate(rows):
                    out[place] = dataset[row]

    def origins(self) -> np.ndarray:
        """Return each patch's upper-left target pixel in its product, (N, 2)."""
        with _naming_damage(self.path), _opened(self.path) as file:
            return file["origin"][...]

    def products(self) -> np.ndarray:
        """Return the name of the product that each patch comes from, (N,) str."""
        with _naming_damage(self.path), _opened(self.path) as file:
            return np.array(list(file.attrs["products"]), np.str_)[file["product"][...]]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pid": None, "_datasets": {}}

    def _dataset(self, layer: str) -> Any:
        if self._pid != os.getpid():
            self._pid, self._datasets = os.getpid(), {}
        if layer not in self._datasets:
            self._datasets[layer] = self._open(layer)
        return self._datasets[layer]

    def _open(self, layer: str) -> Any:
        with _naming_damage(self.path):
            shape = (self.rows, *self._layers[layer]["shape"])
            file = _opened(self.path)
            dataset = file[layer]
            found, kind, offset = dataset.shape, dataset.dtype, dataset.id.get_offset()
            if found != shape or kind != np.dtype("<i2"):
                raise ManifestError(
                    f"layer {layer!r} is {found} {kind}, the manifest says {shape} int16",
                    where=self.path,
                    cure="the shard is of another store: run `hpc-sr prepare` again",
                )
            if offset is None:
                return dataset
            file.close()
            return np.memmap(self.path, np.dtype("<i2"), "r", offset, shape)


class Store:
    """A manifest and its shards."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.manifest: Manifest = read_manifest(path)

    def split(self, name: str) -> list[ShardReader]:
        """Return the shards of a split. Raises ManifestError if a file is absent or of another size than listed."""
        return [self._reader(entry) for entry in self.manifest.splits[name]]

    def _reader(self, entry: ShardEntry) -> ShardReader:
        path = self.path / entry.file
        with _naming_damage(path):
            found = f"has {path.stat().st_size} bytes" if is_there(path) else "is missing"
        if found != f"has {entry.bytes} bytes":
            raise ManifestError(
                f"{found}, the manifest lists {entry.bytes} bytes", where=path, cure="run `hpc-sr prepare` again"
            )
        return ShardReader(path, entry.rows, self.manifest.layers)

    def damaged(self, share: int = 0, shares: int = 1) -> Iterator[tuple[ShardEntry, HpcSrError | None]]:
        """Yield every `shares`-th shard from `share` on, after reading all of it, with what is wrong or None.

        ManifestError: the file is absent, of another size, or of another format version; ChecksumError: its content
        is not what was written; StoreError: it cannot be read.
        """
        for entry in [entry for entries in self.manifest.splits.values() for entry in entries][share::shares]:
            try:
                self._check(entry)
            except HpcSrError as error:
                yield entry, error
            else:
                yield entry, None

    def verify(self, share: int = 0, shares: int = 1) -> None:
        """Read every `shares`-th shard and compare its checksum. Raises the first error that `damaged` finds."""
        for _, error in self.damaged(share, shares):
            if error is not None:
                raise error

    def _check(self, entry: ShardEntry) -> None:
        path = self._reader(entry).path
        with telling(path, StoreError, "read"):
            found = sha256_of(path)
        if found != entry.sha256:
            raise ChecksumError(
                f"sha256 is {found[:12]}, the manifest says {entry.sha256[:12]}",
                where=path,
                cure="the shard is damaged: delete it and run `hpc-sr prepare` again",
            )
        _opened(path).close()


def _opened(path: Path) -> h5py.File:
    """Return the shard's open file. Raises ManifestError if it is of another format version."""
    with _naming_damage(path):
        file = h5py.File(path, "r", locking=False)
        version = file.attrs.get("format_version")
    if version != FORMAT_VERSION:
        file.close()
        raise ManifestError(
            f"format_version is {version}, this version reads {FORMAT_VERSION}",
            where=path,
            cure="prepare the store with this version of hpc_sr",
        )
    return file


@contextmanager
def _naming_damage(path: Path) -> Iterator[None]:
    """Turn what the system or HDF5 says of a file that is not what it should be into StoreError."""
    try:
        yield
    except (OSError, KeyError, ValueError, IndexError, TypeError, AttributeError, RuntimeError) as error:
        raise StoreError(
            f"cannot be read ({error})",
            where=path,
            cure="`hpc-sr verify` tells what is damaged: delete that, and run `hpc-sr prepare` again",
        ) from error
