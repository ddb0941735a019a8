"""What repeating to the bit costs, and whether a resumed run does repeat: train.deterministic on this device.

    python -m hpc_sr.bench.repeat [--width 128] [--batch 128] [--steps 20] [--rounds 5]

Steps of two trainers in turn, one with any algorithms and one with those that repeat. Then as many steps without a
break, and with a checkpoint, a new trainer and the rest of them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from hpc_sr.bench.noise import patches_of_noise
from hpc_sr.bench.pairs import print_result, time_in_turn
from hpc_sr.bench.step import PATCH_PX, recipe_of
from hpc_sr.bench.trainer import Trainer
from hpc_sr.comm.communicator import SerialComm
from hpc_sr.comm.launch import pin_device
from hpc_sr.data.dataset import Patches
from hpc_sr.recipe import Recipe
from hpc_sr.tasks import S2X
from hpc_sr.train.checkpoint import Checkpoints
from hpc_sr.weights.card import Card


def main() -> None:
    """Print the ratio of their times, and whether the weights of both runs are the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    comm, patch_px = SerialComm(pin_device(local_rank=0)), PATCH_PX[S2X.name]
    repeating, free = (
        recipe_of("s2x", options.width, options.batch, "auto", stage="device", deterministic=deterministic)
        for deterministic in (True, False)
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        patches = patches_of_noise(folder / "noise", S2X, patch_px, 512)
        with (
            Trainer(free, patches, patch_px, comm, folder / "free") as first,
            Trainer(repeating, patches, patch_px, comm, folder / "repeating") as second,
        ):
            timed = time_in_turn(lambda: first.run(options.steps), lambda: second.run(options.steps), options.rounds)
            precision = first.precision
        resumed = _resumes_to_the_bit(repeating, patches, comm, folder, options.steps)
    print_result(
        "repeat",
        width=options.width,
        batch=options.batch,
        precision=precision,
        free_s=timed["first_s"],
        repeating_s=timed["second_s"],
        repeating_over_free=timed["second_over_first"],
        ratio_min_max=timed["second_over_first_min_max"],
        resumed_to_the_bit=resumed,
    )


def _resumes_to_the_bit(recipe: Recipe, patches: Patches, comm: SerialComm, folder: Path, steps: int) -> bool:
    """Return whether twice so many steps leave the same weights with a checkpoint in between as without."""
    patch_px, weights = PATCH_PX[S2X.name], []
    for stops in ((2 * steps,), (steps, steps)):
        run = folder / f"{len(stops)}"
        for taken in stops:
            trainer, checkpoints = Trainer(recipe, patches, patch_px, comm, run), Checkpoints(run, comm, keep=1)
            facts = trainer.state.generator.facts
            card = Card("s2x", recipe.to_train()[0], facts, "wald", "L1C", trainer.parameters, step=0, samples=0)
            checkpoints.restore(trainer.state, card)
            with trainer:
                trainer.run(taken)
                checkpoints.save(trainer.state, card)
        weights.append(trainer.state.generator.state_dict())
    one, other = weights
    return all(torch.equal(values, other[name]) for name, values in one.items())


if __name__ == "__main__":
    main()
