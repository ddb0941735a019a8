"""A trained generator: network, card, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hpc_sr.models.build import build_generator
from hpc_sr.models.generator import Generator
from hpc_sr.tasks import task_by_name
from hpc_sr.weights.card import Card, read_card
from hpc_sr.weights.folder import find_checkpoint, find_weights
from hpc_sr.weights.tensors import digest_of, load_weights, read_tensors


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


def restore_generator(card: Card, path: Path) -> Generator:
    """Return the generator that a card describes with the weights in a file, in evaluation mode on the CPU."""
    generator = build_generator(card.model, task_by_name(card.task), card.facts)
    load_weights(generator, read_tensors(path), path)
    return generator.eval()
