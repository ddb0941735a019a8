"""A trained generator on disk: its tensors and `card.json` (all that is needed to use it).

Training writes them into every checkpoint, as `generator.pt`; an exported folder has `model.safetensors`. Inference
and evaluation read both. Either folder is renamed into place when it is complete, so a folder with a card is whole.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file

from hpc_sr.config import parse
from hpc_sr.errors import ArchitectureError, CheckpointError, LevelError, OutputError
from hpc_sr.models.build import build_generator
from hpc_sr.models.generator import Generator
from hpc_sr.models.options import ModelOptions
from hpc_sr.tasks import task_by_name


@dataclass(frozen=True)
class Card:
    """What a generator is and was trained for. `model` are its ModelOptions, `parameters` counts trainable ones.

    `stored_units` are those of the store it was trained on; "" in cards of before they were written down.
    """

    task: str
    patch_px: int
    model: dict[str, Any]
    degradation: str
    level: str
    parameters: int
    step: int
    samples: int
    stored_units: str = ""

    @property
    def family(self) -> str:
        """The name of the method in tables: the thesis calls the 60 m network of this family s6x."""
        return self.task if self.model["family"] == "s2x" else self.model["family"]


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


def write_safetensors(path: Path, generator: Generator, card_json: str) -> None:
    """Write a generator's tensors, with the card in the file's metadata as `card`. Raises OutputError."""
    tensors = {name: tensor.contiguous() for name, tensor in generator.state_dict().items()}
    try:
        save_file(tensors, path, metadata={"format": "pt", "card": card_json})
    except safetensors.SafetensorError as error:
        raise OutputError(f"cannot be written ({error})", where=path, cure="free disk space") from error


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


def digest_of(generator: Generator) -> str:
    """Return the SHA-256 of a generator's weights, names and bytes."""
    found = hashlib.sha256()
    for name, tensor in sorted(generator.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def read_card(folder: Path) -> Card:
    """Return the card in a checkpoint folder."""
    path = folder / "card.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Card(
            **{field.name: content[field.name] for field in fields(Card) if field.name != "stored_units"},
            stored_units=content.get("stored_units", ""),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"is no model card ({error})", where=path, cure="use another checkpoint") from error


def read_tensors(path: Path) -> dict[str, Any]:
    """Return the tensors of a file, on the CPU; nothing but tensors and plain values is ever unpickled."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        cure = "use another checkpoint, or export the run again"
        raise CheckpointError(f"cannot be read ({error})", where=path, cure=cure) from error


def load_weights(generator: Generator, tensors: dict[str, torch.Tensor], where: Path) -> None:
    """Put tensors into a generator. Raises ArchitectureError listing what does not fit, field by field."""
    wanted = generator.state_dict()
    misfits = [f"{name} is missing" for name in sorted(wanted.keys() - tensors.keys())]
    misfits += [f"{name} is unknown" for name in sorted(tensors.keys() - wanted.keys())]
    misfits += [
        f"{name} is {tuple(tensors[name].shape)}, the model has {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & tensors.keys())
        if tensors[name].shape != wanted[name].shape
    ]
    if misfits:
        more = f" and {len(misfits) - 5} more" if len(misfits) > 5 else ""
        raise ArchitectureError(
            f"belongs to another network: {'; '.join(misfits[:5])}{more}",
            where=where,
            cure="make the recipe's model section that of the checkpoint, or choose another run name",
        )
    generator.load_state_dict(tensors)


def check_level(card: Card, level: str, where: str | Path) -> None:
    """Raise LevelError unless a product or store is of the level that the model was trained on."""
    if level != card.level:
        raise LevelError(
            f"is {level}, the model was trained on {card.level}", where=where, cure=f"use a model trained on {level}"
        )


def check_same_model(found: Card, wanted: Card, where: Path) -> None:
    """Raise ArchitectureError, naming each field that differs, unless two cards describe the same kind of model."""
    differing = [
        f"{name} is {getattr(found, name)!r}, the recipe says {getattr(wanted, name)!r}"
        for name in ("task", "patch_px", "degradation", "level")
        if getattr(found, name) != getattr(wanted, name)
    ]
    keys = sorted(found.model.keys() | wanted.model.keys())
    differing += [
        f"model.{key} is {found.model.get(key)!r}, the recipe says {wanted.model.get(key)!r}"
        for key in keys
        if found.model.get(key) != wanted.model.get(key)
    ]
    if differing:
        raise ArchitectureError(
            f"is of another model: {'; '.join(differing)}",
            where=where,
            cure="choose another run name (name=...) or the checkpoint's own recipe",
        )
