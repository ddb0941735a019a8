"""The loader against a bare numpy.memmap gather of the same patches in the same order.

python -m hpc_sr.bench.loader [--patches 8192] [--batch 128] [--rounds 7]
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np

from hpc_sr.bench.noise import patches_of_noise
from hpc_sr.bench.pairs import print_result, time_in_turn
from hpc_sr.data.loader import Loader
from hpc_sr.data.order import SampleStream
from hpc_sr.shards.schema import layers_of
from hpc_sr.tasks import S2X

_PATCH_PX = 32


def main() -> None:
    """Print patches per second of both and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        patches = patches_of_noise(Path(folder), S2X, _PATCH_PX, options.patches)
        maps = [_bare_map(Path(folder) / f"{k}.h5", rows) for k, rows in enumerate(patches.rows_per_shard)]
        steps = len(patches) // options.batch
        stream = SampleStream(patches.rows_per_shard, 0)
        taken = [stream.take(k * options.batch, options.batch)[0] for k in range(steps)]
        starts = np.concatenate([[0], np.cumsum(patches.rows_per_shard)])
        where = [(np.searchsorted(starts, i, side="right") - 1, i) for i in taken]

        def bare() -> None:
            for shards, indices in where:
                for k in np.unique(shards):
                    rows = indices[shards == k] - starts[k]
                    for values in maps[k].values():
                        values[rows]

        loader = Loader(patches, rank=0, world_size=1, batch_size_per_rank=options.batch, seed=0)

        def ours() -> None:
            with closing(loader.batches(0)) as batches:
                for _ in range(steps):
                    next(batches)

        timed = time_in_turn(ours, bare, options.rounds)
    print_result(
        "loader",
        patches=len(patches),
        patch_px=_PATCH_PX,
        batch=options.batch,
        loader_patches_per_s=steps * options.batch / timed["first_s"],
        memmap_patches_per_s=steps * options.batch / timed["second_s"],
        ratio_to_memmap=timed["second_over_first"],
        ratio_min_max=timed["second_over_first_min_max"],
    )


def _bare_map(path: Path, rows: int) -> dict[str, np.memmap]:
    """Return a shard's layers as maps of its file."""
    with h5py.File(path) as file:
        offsets = {name: file[name].id.get_offset() for name in layers_of(S2X, _PATCH_PX)}
        return {n: np.memmap(path, "<i2", "r", offset, (rows, *file[n].shape[1:])) for n, offset in offsets.items()}


if __name__ == "__main__":
    main()
