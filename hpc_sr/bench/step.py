"""The trainer's step, data and bookkeeping included, against a bare forward-backward-step loop on tensors in memory.

    python -m hpc_sr.bench.step [--store DIR] [--width 48] [--batch 16] [--precision auto] [--steps 20] [--rounds 7]

Without --store, patches of random values are written first.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import closing
from pathlib import Path

import torch

from hpc_sr.bench.loader import store_of_noise
from hpc_sr.bench.pairs import print_result, time_in_turn
from hpc_sr.comm.communicator import SerialComm
from hpc_sr.data.dataset import Patches
from hpc_sr.data.loader import Loader
from hpc_sr.losses.content import l1
from hpc_sr.models.build import build_generator, count_parameters
from hpc_sr.models.options import ModelOptions
from hpc_sr.models.precision import autocast, choose_precision
from hpc_sr.shards.reader import Store
from hpc_sr.tasks import S2X
from hpc_sr.train.diary import Diary
from hpc_sr.train.step import ContentStep

_PATCH_PX = 32


def main() -> None:
    """Print samples per second of both and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.store:
            store = Store(options.store)
            patches = Patches.of(store.split("train"), S2X, store.manifest.patch_px)
        else:
            patches, _ = store_of_noise(Path(folder), 512)
        _compare(options, patches, Path(folder))


def _compare(options: argparse.Namespace, patches: Patches, folder: Path) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = choose_precision(options.precision, device)
    torch.manual_seed(0)
    model = ModelOptions(family="s2x", width=options.width)
    generator = build_generator(model, S2X, _PATCH_PX).to(device)
    optimizer = torch.optim.Adam(generator.parameters(), lr=1e-4)
    x10, x20, target = (
        torch.rand(options.batch, *S2X.shape(layer, _PATCH_PX), device=device) for layer in S2X.layers
    )

    def bare() -> None:
        for _ in range(options.steps):
            with autocast(device, precision):
                estimate = generator(x10, x20)
            loss = l1(estimate.float(), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        float(loss.detach())

    step = ContentStep(generator, optimizer, l1, S2X, device, precision, augment=True)
    loader = Loader(
        patches, rank=0, world_size=1, batch_size_per_rank=options.batch, seed=0, pin_memory=device.type == "cuda"
    )
    comm = SerialComm(device)
    with (
        closing(loader.batches(0)) as batches,
        Diary(folder, comm, global_batch_size=options.batch, resume_step=0) as diary,
    ):
        waited = diary.waited_for(batches)

        def ours() -> None:
            for _ in range(options.steps):
                diary.add(step(next(waited)))
            float(diary.loss_sum)

        timed = time_in_turn(ours, bare, options.rounds)
    samples = options.steps * options.batch
    print_result(
        "step", width=options.width, parameters=count_parameters(generator), batch=options.batch, precision=precision,
        trainer_samples_per_s=samples / timed["first_s"], bare_samples_per_s=samples / timed["second_s"],
        ratio_to_bare=timed["second_over_first"], ratio_min_max=timed["second_over_first_min_max"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
