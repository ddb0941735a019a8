"""Samples by index, over all shards of a split."""

from __future__ import annotations

import numpy as np

from hpc_sr.shards.reader import ShardReader
from hpc_sr.tasks import Task


class Patches:
    """The patches of a split, numbered through its shards. `shapes` are (C, H, W) by layer."""

    def __init__(self, shards: list[ShardReader], shapes: dict[str, tuple[int, int, int]]):
        self.rows_per_shard = [shard.rows for shard in shards]
        self.shapes, self._shards = shapes, shards
        self._starts = np.concatenate([[0], np.cumsum(self.rows_per_shard)])

    @classmethod
    def of(cls, shards: list[ShardReader], task: Task, patch_px: int) -> Patches:
        """Return the patches of a task's shards."""
        return cls(shards, {layer.name: task.shape(layer, patch_px) for layer in task.layers})

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, sorted_indices: np.ndarray) -> dict[str, np.ndarray]:
        """Return the samples of ascending indices, a (n, C, H, W) int16 array per layer."""
        out = {name: np.empty((len(sorted_indices), *shape), np.int16) for name, shape in self.shapes.items()}
        edges = np.searchsorted(sorted_indices, self._starts)
        for k, shard in enumerate(self._shards):
            first, last = edges[k], edges[k + 1]
            if first < last:
                rows = sorted_indices[first:last] - self._starts[k]
                for name, values in out.items():
                    shard.take(name, rows, values[first:last])
        return out

    def describe(self, indices: list[int]) -> list[dict[str, object]]:
        """Return where each sample is: shard file, row, product, and its upper-left target pixel in the product."""
        owners = (np.searchsorted(self._starts, indices, side="right") - 1).tolist()
        origins = {k: self._shards[k].origins() for k in set(owners)}
        products = {k: self._shards[k].products() for k in set(owners)}
        rows = [int(index - self._starts[k]) for index, k in zip(indices, owners, strict=True)]
        return [
            {
                "shard": self._shards[k].path.name,
                "row": row,
                "product": str(products[k][row]),
                "origin": origins[k][row].tolist(),
            }
            for k, row in zip(owners, rows, strict=True)
        ]
