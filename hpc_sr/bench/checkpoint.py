"""Writing a checkpoint next to writing as many bytes into one file and flushing it.

python -m hpc_sr.bench.checkpoint [--width 128] [--dir DIR] [--rounds 5]

The limit is what the disk takes. A checkpoint also makes its bytes, sums them up, and renames a folder.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from hpc_sr.bench.noise import patches_of_noise
from hpc_sr.bench.pairs import print_result, time_in_turn
from hpc_sr.bench.step import PATCH_PX, recipe_of
from hpc_sr.bench.trainer import Trainer
from hpc_sr.comm.communicator import SerialComm
from hpc_sr.comm.launch import pin_device
from hpc_sr.tasks import S2X
from hpc_sr.train.checkpoint import Checkpoints
from hpc_sr.weights.card import Card


def main() -> None:
    """Print the seconds of both and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--dir", type=Path, help="where both write [the temporary folder]")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        folder, comm = Path(name), SerialComm(pin_device(local_rank=0))
        patch_px = PATCH_PX[S2X.name]
        recipe = recipe_of("s2x", options.width, 8, "fp32")
        with Trainer(recipe, patches_of_noise(folder / "noise", S2X, patch_px, 64), patch_px, comm, folder) as trainer:
            trainer.run(1)  # an optimizer has moments from its first step on
            state, checkpoints = trainer.state, Checkpoints(folder, comm, keep=1)
            facts = state.generator.facts
            card = Card("s2x", recipe.to_train()[0], facts, "wald", "L1C", trainer.parameters, step=0, samples=0)

            def ours() -> None:
                state.clock.step += 1
                checkpoints.save(state, card)

            ours()
            (written,) = (folder / "checkpoints").iterdir()
            sizes = [path.stat().st_size for path in written.iterdir()]
            content = os.urandom(sum(sizes))
            timed = time_in_turn(ours, lambda: _write(folder / "raw", content), options.rounds)
    print_result(
        "checkpoint",
        width=options.width,
        parameters=trainer.parameters,
        size_bytes=sum(sizes),
        checkpoint_s=timed["first_s"],
        raw_write_s=timed["second_s"],
        ratio_to_raw=timed["second_over_first"],
        ratio_min_max=timed["second_over_first_min_max"],
    )


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    main()
