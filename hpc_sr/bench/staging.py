"""Staging a store next to `cp` of the same files, and next to `cp` and the checksum pass that staging replaces.

    python -m hpc_sr.bench.staging [--to /dev/shm] [--mib 1024] [--rounds 5]

The source is in the page cache: what is measured is copying, checksums and bookkeeping, not the file system.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from hpc_sr.bench.pairs import print_result, time_in_turn
from hpc_sr.shards.reader import Store
from hpc_sr.shards.schema import FORMAT_VERSION, Manifest, layers_of, write_manifest
from hpc_sr.shards.staging import staged
from hpc_sr.shards.writer import ShardWriter
from hpc_sr.tasks import S2X

_PATCH_PX = 32
_SHARDS = 4


def main() -> None:
    """Print bytes per second of all three, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=Path("/dev/shm"))
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(dir=options.to) as target:
        store = _store_of_noise(Path(folder), options.mib << 20)
        shards, to = [store.path / entry.file for entry in store.manifest.splits["train"]], Path(target)
        size_bytes = sum(path.stat().st_size for path in shards)

        def ours() -> None:
            with staged(store.path, to, share=0, shares=1, barrier=lambda: None) as found:
                assert found.store.path != store.path

        def cp() -> None:
            subprocess.run(["cp", *shards, to], check=True)
            for path in shards:
                (to / path.name).unlink()

        def cp_and_verify() -> None:
            cp()
            store.verify()

        bare, verified = time_in_turn(ours, cp, options.rounds), time_in_turn(ours, cp_and_verify, options.rounds)
        print_result(
            "staging",
            to=str(options.to),
            bytes=size_bytes,
            shards=_SHARDS,
            rounds=options.rounds,
            staged_bytes_per_s=size_bytes / bare["first_s"],
            cp_bytes_per_s=size_bytes / bare["second_s"],
            ratio_to_cp=bare["second_over_first"],
            ratio_to_cp_min_max=bare["second_over_first_min_max"],
            cp_and_verify_bytes_per_s=size_bytes / verified["second_s"],
            ratio_to_cp_and_verify=verified["second_over_first"],
            ratio_to_cp_and_verify_min_max=verified["second_over_first_min_max"],
        )


def _store_of_noise(folder: Path, size_bytes: int) -> Store:
    layers, rng = layers_of(S2X, _PATCH_PX), np.random.default_rng(0)
    rows = size_bytes // (_SHARDS * sum(2 * int(np.prod(layer["shape"])) for layer in layers.values()))
    entries = []
    for k in range(_SHARDS):
        with ShardWriter(folder / "shards" / f"{k}.h5", layers, rows, ("noise",), {}, "contiguous") as writer:
            values = {n: rng.integers(0, 10000, (rows, *x["shape"]), np.int16) for n, x in layers.items()}
            writer.append(values, np.zeros((rows, 2), np.int32))
        entries.append(writer.entry(folder))
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        task=S2X.name,
        patch_px=_PATCH_PX,
        stride_px=_PATCH_PX,
        degradation="wald",
        level="L1C",
        layout="contiguous",
        units="reflectance x 10000",
        layers=layers,
        splits={"train": tuple(entries), "validation": (), "test": ()},
        products=(),
        skipped=(),
        statistics={},
        sums={},
        settings={},
        software={},
    )
    write_manifest(folder, manifest)
    return Store(folder)


if __name__ == "__main__":
    main()
