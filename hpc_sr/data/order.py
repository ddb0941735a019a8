"""The order of samples: a pure function of (seed, epoch), the same stream for any number of ranks.

Block shuffle: shards are cut into blocks of consecutive rows, the blocks are shuffled, and the rows are shuffled
within a sliding group of blocks. Reads stay near-sequential for the file system while convergence matches a full
shuffle (CorgiPile, https://arxiv.org/abs/2206.05830).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BLOCK_ROWS = 256
GROUP_BLOCKS = 64


def epoch_order(rows_per_shard: Sequence[int], seed: int, epoch: int) -> np.ndarray:
    """Return a permutation of all sample indices; shard k's rows are numbered after those of the shards before it."""
    rng = np.random.default_rng([seed, epoch])
    starts = np.concatenate([[0], np.cumsum(rows_per_shard)])
    blocks = [
        np.arange(start, min(start + BLOCK_ROWS, stop))
        for first, stop in zip(starts[:-1], starts[1:], strict=True)
        for start in range(first, stop, BLOCK_ROWS)
    ]
    picked = [blocks[k] for k in rng.permutation(len(blocks))]
    groups = (picked[k : k + GROUP_BLOCKS] for k in range(0, len(picked), GROUP_BLOCKS))
    return np.concatenate([rng.permutation(np.concatenate(group)) for group in groups])


class SampleStream:
    """The endless stream of (sample index, dihedral code 0..7, draw): epoch after epoch, each in its own order.

    A draw is a number in [0, 2^63) of which all else that is random about a sample is made (models/draws.py).
    """

    def __init__(self, rows_per_shard: Sequence[int], seed: int):
        self.rows = int(sum(rows_per_shard))
        self._rows_per_shard, self._seed = rows_per_shard, seed
        self._epoch, self._samples = -1, np.empty((3, 0), np.int64)

    def take(self, start: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return indices, codes and draws of the samples start .. start + count of the stream; it may span epochs."""
        parts = []
        while count > 0:
            epoch, offset = divmod(start, self.rows)
            self._enter(epoch)
            stop = min(offset + count, self.rows)
            parts.append(self._samples[:, offset:stop])
            start, count = start + stop - offset, count - (stop - offset)
        indices, codes, draws = np.concatenate(parts, axis=1)
        return indices, codes, draws

    def _enter(self, epoch: int) -> None:
        if epoch != self._epoch:
            self._epoch = epoch
            order = epoch_order(self._rows_per_shard, self._seed, epoch)
            codes = np.random.default_rng([self._seed, epoch, 1]).integers(0, 8, self.rows)
            draws = np.random.default_rng([self._seed, epoch, 2]).integers(0, 2**63, self.rows)
            self._samples = np.stack([order, codes, draws])
