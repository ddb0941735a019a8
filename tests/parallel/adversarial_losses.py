"""The first steps of adversarial training by every loss, as a run writes them down: python FILE FOLDER STORE.

On the ranks of the launcher; rank 0 writes FOLDER/losses.json. All ranks check that every gradient is there.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from made_store import made_recipe

from hpc_sr.comm.communicator import Comm
from hpc_sr.comm.launch import connected
from hpc_sr.recipe import Recipe
from hpc_sr.train.session import Session

RANKS = int(os.environ.get("HPC_SR_RANKS", "2"))
STEPS, BATCH = 3, 4 * RANKS
MODEL = {"family": "s2x", "width": 16, "blocks": 1}
#: Adam's first steps are signs: where gradients are nearly 0 rounding would decide, but for a large eps.
ADAM = {"name": "adam", "base_lr": 1e-3, "betas": [0.5, 0.9], "eps": 1e-3}
#: Name: what the objective says. Every loss, every norm, several steps of the critic.
CASES: dict[str, dict] = {
    "vanilla": {"critic": {"norm": "batch"}},
    "saturating": {"critic": {"spectral_norm": True}},
    "lsgan": {"critic": {"family": "vgg", "stages": 2, "hidden": 8, "norm": "instance"}},
    "lsgan_charbonnier": {},
    "wgan": {"critic_steps": 2},
    "wgan_gp": {"critic_steps": 2},
    "hinge": {"critic": {"spectral_norm": True}, "penalty": 1.0},
    "rsgan": {"critic": {"norm": "instance"}},
    "ragan": {"critic": {"norm": "batch"}},
}


def recipe_of(loss: str, folder: Path, store: Path, samples: int, ranks: int) -> Recipe:
    """Return the recipe of a loss whose global batch is the same on any number of ranks."""
    told = dict(CASES[loss])
    critic = {"family": "s2d_light", "width": 16, **told.pop("critic", {})}
    section = {"method": "adversarial", "loss": loss, "weight": 0.1, "warmup_samples": 16, "critic": critic}
    batch = {"batch_size_per_rank": BATCH // ranks}
    told |= {"objective": {**section, "critic_optimizer": ADAM, **told}}
    return made_recipe(folder / loss, store, MODEL, samples, objective=told["objective"], optimizer=ADAM, train=batch)


def watched(session: Session) -> None:
    for player in session.objective.players:
        missing = [name for name, p in player.network.named_parameters() if p.grad is None or not p.requires_grad]
        assert not missing, (player.name, missing)


def losses_of(comm: Comm, folder: Path, store: Path) -> dict[str, list[dict[str, float]]]:
    """Return all that is told of each step, by loss."""
    from hpc_sr.cli.train import train_recipe

    advance, found = Session.steps, {}

    def steps(self: Session, *args):
        for update in advance(self, *args):
            watched(self)
            yield update

    Session.steps = steps  # type: ignore[method-assign]
    for loss in CASES:
        recipe = recipe_of(loss, folder, store, STEPS * BATCH, comm.world_size)
        train_recipe(recipe, comm)
        lines = map(json.loads, (recipe.run_directory / "metrics.jsonl").read_text().splitlines())
        found[loss] = [line for line in lines if line["kind"] == "train"]
    return found


def main(folder: str, store: str) -> None:
    with connected() as comm:
        found = losses_of(comm, Path(folder), Path(store))
        if comm.rank == 0:
            (Path(folder) / "losses.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
