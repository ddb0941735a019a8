"""What a trained generator is: `card.json`, all that is needed to use its tensors."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hpc_sr.errors import ArchitectureError, CheckpointError, LevelError


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
