"""A trained generator on disk: a folder with its tensors and its card.

Training writes them into every checkpoint, as `generator.pt`; an exported folder has `model.safetensors`. Inference
and evaluation read both. Either folder is renamed into place when it is complete, so a folder with a card is whole.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

from hpc_sr.config import parse
from hpc_sr.errors import CheckpointError
from hpc_sr.models.build import build_generator
from hpc_sr.models.generator import Generator
from hpc_sr.models.options import ModelOptions
from hpc_sr.tasks import task_by_name
from hpc_sr.weights.card import Card, read_card
from hpc_sr.weights.tensors import load_weights, read_tensors


def save_generator(folder: Path, generator: Generator, card: Card) -> None:
    """Write a generator and its card into an existing folder."""
    torch.save(generator.state_dict(), folder / "generator.pt")
    (folder / "card.json").write_text(json.dumps(asdict(card), indent=1) + "\n", encoding="utf-8")


def load_generator(path: str | Path) -> tuple[Generator, Card]:
    """Return the generator of a run directory (its best checkpoint, else its newest), or of a checkpoint folder, or
    of an exported one.

    The generator is in evaluation mode on the CPU. Raises CheckpointError or ArchitectureError naming the file.
    """
    folder = find_checkpoint(path)
    card = read_card(folder)
    return restore_generator(card, _find_weights(folder)), card


def restore_generator(card: Card, path: Path) -> Generator:
    """Return the generator that a card describes with the weights in a file, in evaluation mode on the CPU."""
    options = parse(ModelOptions, card.model, path.with_name("card.json"))
    generator = build_generator(options, task_by_name(card.task), card.patch_px)
    load_weights(generator, read_tensors(path), path)
    return generator.eval()


def find_checkpoint(path: str | Path) -> Path:
    """Return the checkpoint folder that a path means."""
    path = Path(path)
    if (path / "card.json").exists():
        return path
    found = list_checkpoints(path)
    if not found:
        raise CheckpointError("holds no checkpoint", where=path, cure="give a run directory that `hpc-sr train` wrote")
    best = path / "checkpoints" / "best.json"
    if best.exists():
        chosen = path / "checkpoints" / json.loads(best.read_text(encoding="utf-8"))["checkpoint"]
        if chosen in found:
            return chosen
    return found[-1]


def _find_weights(folder: Path) -> Path:
    for name in ("generator.pt", "model.safetensors"):
        if (folder / name).exists():
            return folder / name
    raise CheckpointError(
        "holds a card and no weights", where=folder, cure="export the run again, safetensors among the formats"
    )


def list_checkpoints(run_directory: Path) -> list[Path]:
    """Return the complete checkpoints of a run, oldest first."""
    return sorted(p for p in (run_directory / "checkpoints").glob("step_*") if (p / "card.json").exists())
