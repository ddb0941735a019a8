"""A trained generator: network, card, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from hpc_sr.errors import RecipeError
from hpc_sr.models.build import build_generator
from hpc_sr.models.facts import Law
from hpc_sr.models.generator import Generator
from hpc_sr.tasks import Task, task_by_name
from hpc_sr.weights.card import Card, read_card
from hpc_sr.weights.folder import find_checkpoint, find_weights
from hpc_sr.weights.tensors import digest_of, load_weights, read_tensors

#: What the path of a network says whose back-projection was not trained.
BACK_PROJECTED = ", back-projected"


@dataclass(frozen=True)
class Trained:
    """A generator in evaluation mode, its card, and the path that was given to load it."""

    generator: Generator
    card: Card
    where: str

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the weights."""
        return digest_of(self.generator)


def load_trained(path: str | Path) -> Trained:
    """Return the generator of a run directory (the checkpoint to use), of a checkpoint folder, or of an exported one.

    It is in evaluation mode on the CPU. Raises CheckpointError or ArchitectureError naming the file.
    """
    folder = find_checkpoint(path)
    card = read_card(folder)
    return Trained(restore_generator(card, find_weights(folder)), card, str(path))


def back_projected(trained: Trained) -> Trained:
    """Return the same weights in a network that makes its estimates consistent with what was measured.

    Its path says so. Raises RecipeError if the card does not tell how the bands were degraded.
    """
    card = replace(trained.card, model=trained.card.model.model_copy(update={"back_project": True}))
    generator = build_generator(card.model, task_by_name(card.task), card.facts)
    generator.load_state_dict(trained.generator.state_dict())
    return Trained(generator.eval(), card, f"{trained.where}{BACK_PROJECTED}")


def for_task(trained: Trained, task: Task, laws: Mapping[str, Law]) -> Trained:
    """Return the same weights in the network of another task, whose bands `laws` tells the degradation of.

    Raises RecipeError unless they are of a family whose weights fit any bands.
    """
    card = trained.card
    if not card.model.of_any_bands:
        raise RecipeError(
            f"is of family {card.model.family}, whose weights are for the bands of task {card.task} alone",
            where=trained.where,
            cure="leave --task out, or give a run of family band",
        )
    looks = card.facts.looks and replace(card.facts.looks, unexplained={})  # other bands, at another scale
    card = replace(card, task=task.name, facts=replace(card.facts, means={}, laws=laws, looks=looks))
    generator = build_generator(card.model, task, card.facts)
    generator.load_state_dict(trained.generator.state_dict())
    return Trained(generator.eval(), card, trained.where)


def restore_generator(card: Card, path: Path) -> Generator:
    """Return the generator that a card describes with the weights in a file, in evaluation mode on the CPU."""
    generator = build_generator(card.model, task_by_name(card.task), card.facts)
    load_weights(generator, read_tensors(path), path)
    return generator.eval()
