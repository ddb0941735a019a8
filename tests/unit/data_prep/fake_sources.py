"""Sources without files and ranks without processes: preparation can be watched, disturbed and repeated."""

from __future__ import annotations

import hashlib
import pickle
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import data_prep.build as build
from data_prep.options import PrepareOptions
from hpc_sr.errors import HpcSrError, RasterError
from hpc_sr.sentinel2.pairs import Pair
from hpc_sr.shards.reader import Store
from hpc_sr.shards.schema import Manifest
from hpc_sr.tasks import S2X

#: How often each source was asked for its pair: what a resumed run must not do again.
DECODED: Counter[str] = Counter()


@dataclass(frozen=True)
class FakeSource:
    """A product of random pixels that follow from its name. `state` stands for the files' content."""

    name: str
    tile: str
    rows_px: int = 40
    error: HpcSrError | None = None
    state: str = ""
    nodata: bool = False
    level: str = "L1C"
    date: str = "2020-01-01"

    @property
    def size_bytes(self) -> int:
        return self.rows_px

    def facts(self) -> dict[str, Any]:
        return {"state": self.state}

    def about(self) -> dict[str, Any]:
        return {"product": self.name, "level": self.level, "tile": self.tile}

    def pair(self, training: bool) -> Pair:
        DECODED[self.name] += 1
        if self.error is not None:
            raise self.error
        rng = np.random.default_rng(list(hashlib.sha256(f"{self.name}{self.state}".encode()).digest()))
        layers = {
            layer.name: rng.integers(
                -500, 12000, (len(layer.bands), self.rows_px // layer.stride, 32 // layer.stride)
            ).astype(np.int16)
            for layer in S2X.layers
        }
        marks = {"nodata": np.full((self.rows_px, 32), self.nodata), "cloud": rng.random((self.rows_px, 32)) < 0.08}
        return Pair(layers, marks, {"shift_px": 0.25})


def sources(count: int = 4) -> list[FakeSource]:
    """Return training sources of several sizes, one for validation and one for the test."""
    training = [FakeSource(f"product_{k}", f"33UU{'ABCDEFGH'[k]}", 40 + 16 * (k % 3)) for k in range(count)]
    return [*training, FakeSource("validated", "32TQM"), FakeSource("tested", "32TQN")]


def options(**changes: Any) -> PrepareOptions:
    split = {"validation": ["32TQM"], "test": ["32TQN"]}
    given = {"products": ["*"], "degradation": "wald", "patch_px": 8, "stride_px": 8, "shard_rows": 24, "maps": False}
    return PrepareOptions.model_validate({**given, "split": split, **changes})


class ThreadWorld:
    """One of several ranks that are threads; values are pickled on their way, as between processes."""

    def __init__(self, rank: int, world_size: int, shared: dict[str, Any]):
        self.rank, self.world_size, self._shared = rank, world_size, shared

    def broadcast(self, value: Any) -> Any:
        if self.rank == 0:
            self._shared["value"] = pickle.dumps(value)
        self._shared["barrier"].wait()
        found = pickle.loads(self._shared["value"])
        self._shared["barrier"].wait()
        return found

    def share_out(self, work: Callable[[int], Any], count: int, on_result: Callable[[int, Any], None]) -> list[Any]:
        if self.rank == 0:
            self._shared["numbers"], self._shared["results"] = iter(range(count)), {}
        self._shared["barrier"].wait()
        while (k := self._next()) is not None:
            self._shared["results"][k] = pickle.dumps(work(k))
        self._shared["barrier"].wait()
        results = [pickle.loads(self._shared["results"][k]) for k in range(count)]
        self._shared["barrier"].wait()
        for k, result in enumerate(results if self.rank == 0 else []):
            on_result(k, result)
        return results

    def _next(self) -> int | None:
        with self._shared["lock"]:
            return next(self._shared["numbers"], None)


def run(monkeypatch: Any, store: Path, found: list[FakeSource], ranks: int = 1, share=None, **changes: Any):
    """Return what every rank returns of preparing a store from the sources, or raise what rank 0 raises."""
    monkeypatch.setattr(build, "product_sources", lambda options, task: (found, []))
    shared = {"barrier": threading.Barrier(ranks), "lock": threading.Lock()}
    returned: dict[int, Manifest | BaseException | None] = {}

    def work(rank: int) -> None:
        try:
            returned[rank] = build.prepare(options(**changes), S2X, store, ThreadWorld(rank, ranks, shared), share)
        except BaseException as error:  # raised where the test sees it
            returned[rank] = error
            if not isinstance(error, HpcSrError):
                shared["barrier"].abort()

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if isinstance(returned[0], BaseException):
        raise returned[0]
    assert all(returned[rank] == returned[0] for rank in range(ranks))
    return returned[0]


def tree(store: Path) -> dict[str, bytes]:
    """Return every file of a store."""
    return {str(p.relative_to(store)): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}


def patches_of(store: Path, split: str = "train") -> dict[tuple[str, int, int], bytes]:
    """Return all layers of each patch by product and origin; a patch that is there twice fails."""
    opened = Store(store)
    found: dict[tuple[str, int, int], bytes] = {}
    for shard in opened.split(split):
        values = []
        for name, layer in opened.manifest.layers.items():
            out = np.empty((shard.rows, *layer["shape"]), np.int16)
            shard.take(name, np.arange(shard.rows), out)
            values.append(out.reshape(shard.rows, -1))
        keys = [(str(p), int(r), int(c)) for p, (r, c) in zip(shard.products(), shard.origins(), strict=True)]
        assert not set(keys) & set(found) and len(set(keys)) == len(keys)
        found |= {key: row.tobytes() for key, row in zip(keys, np.concatenate(values, 1), strict=True)}
    return found


def unreadable(name: str, tile: str) -> FakeSource:
    return FakeSource(name, tile, error=RasterError("is truncated", where=f"{name}/B02.jp2", cure="copy it again"))
