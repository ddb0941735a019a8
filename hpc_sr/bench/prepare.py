"""Preparing one product next to decoding its bands alone: seconds, peak memory, and where the processor's time goes.

    python -m hpc_sr.bench.prepare --product SAFE [--task s2x] [--rounds 2]

The limit is rasterio reading every band that the task needs, whole, with GDAL's threads on all cores. Both run in
processes of their own, in turn; the shares are of processor time, counted where the work is done.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpc_sr.bench.pairs import print_result
from hpc_sr.sentinel2.safe import open_product
from hpc_sr.tasks import task_by_name


def main() -> None:
    """Print the median seconds of both, their ratio, peak memory, and the shares of the stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--product", type=Path, required=True)
    parser.add_argument("--task", choices=("s2x", "s6x"), default="s2x")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--alone", choices=("decode", "prepare"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        work = {"decode": _decode, "prepare": _prepare}[options.alone]
        print(json.dumps(work(options.product, options.task)))
        return
    command = [sys.executable, "-m", __spec__.name, "--product", str(options.product), "--task", options.task]
    runs: dict[str, list[dict[str, Any]]] = {"decode": [], "prepare": []}
    for _ in range(options.rounds):
        for which, results in runs.items():
            done = subprocess.run([*command, "--alone", which], check=True, stdout=subprocess.PIPE)
            results.append(json.loads(done.stdout))
    ratios = [b["seconds"] / a["seconds"] for a, b in zip(*runs.values(), strict=True)]
    product, last = open_product(options.product), runs["prepare"][-1]
    print_result(
        "prepare",
        product=product.name,
        task=options.task,
        rounds=options.rounds,
        size_10m_px=[product.grids[10].height, product.grids[10].width],
        decode_s=statistics.median(run["seconds"] for run in runs["decode"]),
        prepare_s=statistics.median(run["seconds"] for run in runs["prepare"]),
        prepare_over_decode=statistics.median(ratios),
        prepare_over_decode_min_max=[min(ratios), max(ratios)],
        peak_host_bytes=max(run["peak_bytes"] for run in runs["prepare"]),
        patches=last["patches"],
        store_bytes=last["store_bytes"],
        share_of_processor_time=last["shares"],
    )


def _decode(path: Path, task: str) -> dict[str, float]:
    """Read the bands that a task needs, and nothing else."""
    import rasterio

    product = open_product(path)
    files = [product.where(name) for layer in task_by_name(task).layers for name in layer.bands]
    began = time.perf_counter()
    for file in dict.fromkeys(files):
        with rasterio.Env(GDAL_NUM_THREADS=str(len(os.sched_getaffinity(0)))), rasterio.open(file) as dataset:
            dataset.read(1)
    return {"seconds": time.perf_counter() - began}


def _prepare(path: Path, task: str) -> dict[str, Any]:
    """Prepare a store of one product, maps and checksums included."""
    from data_prep.build import prepare
    from data_prep.options import PrepareOptions
    from hpc_sr.comm.mpi import SerialWorld

    spent = _count_stages()
    with tempfile.TemporaryDirectory(dir=os.environ.get("HPC_SR_BENCH_DIR")) as folder:
        began = time.perf_counter()
        manifest = prepare(PrepareOptions(products=(str(path),)), task_by_name(task), Path(folder), SerialWorld())
        seconds = time.perf_counter() - began
        assert manifest is not None
        size_bytes = sum(entry.bytes for entries in manifest.splits.values() for entry in entries)
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    # GDAL decodes bands and masks in threads of its own: what no Python thread has spent.
    own = time.thread_time() + spent.pop("bands")
    spent["decode"] = time.process_time() - own
    shares = {stage: round(part / (own + spent["decode"]), 3) for stage, part in spent.items()}
    return {
        "seconds": seconds,
        "peak_bytes": peak_bytes,
        "patches": manifest.rows("train"),
        "store_bytes": size_bytes,
        "shares": shares | {"other": round(1 - sum(shares.values()), 3)},
    }


def _count_stages() -> dict[str, float]:
    """Wrap the functions that do the work so that they count their thread's processor time; return the counts."""
    from data_prep import mix, records
    from hpc_sr.sentinel2 import pairs

    spent: dict[str, float] = defaultdict(float)
    lock = threading.Lock()

    def counted(stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.thread_time()
            try:
                return work(*arguments, **named)
            finally:
                with lock:
                    spent[stage] += time.thread_time() - began

        return timed

    for owner, name, stage in (
        (pairs._Gathering, "read_band", "bands"),
        (pairs, "stored", "degrade"),
        (pairs, "band_marks", "masks"),
        (pairs, "scene_marks", "masks"),
        (records, "_write_patches", "write"),
        (records, "_draw_map", "map"),
        (mix, "_write_shard", "mix"),
    ):
        setattr(owner, name, counted(stage, getattr(owner, name)))
    return spent


if __name__ == "__main__":
    main()
