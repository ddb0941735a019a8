"""What a trained generator is: `card.json`, all that is needed to use its tensors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpc_sr.disk import read_json
from hpc_sr.errors import ArchitectureError, CheckpointError, HpcSrError, LevelError, RecipeError
from hpc_sr.models.facts import Facts
from hpc_sr.models.options import ModelOptions, parse_model
from hpc_sr.tasks import NETWORK_UNIT, task_by_name

#: Cards without a version are of version 1: they name the patch size and the store's units, and no other facts.
VERSION = 2
#: The fields that tell what a network was trained on.
TRAINED_ON = ("task", "patch_px", "degradation", "level")


@dataclass(frozen=True)
class Card:
    """What a generator is and was trained for; `parameters` counts the trainable ones."""

    task: str
    model: ModelOptions
    facts: Facts
    degradation: str
    level: str
    parameters: int
    step: int
    samples: int

    @property
    def family(self) -> str:
        """The name of the method in tables."""
        return self.model.label(task_by_name(self.task))

    @property
    def bands(self) -> set[str]:
        """The bands that go in."""
        return {band for layer in task_by_name(self.task).inputs for band in layer.bands}

    @property
    def patch_px(self) -> int:
        """The side of a training patch, in target pixels."""
        return self.facts.patch_px

    @property
    def network_unit(self) -> float:
        """The stored number that is 1 to the network."""
        return self.facts.units.unit

    def as_json(self) -> dict[str, Any]:
        """Return the card as plain values."""
        return {
            "version": VERSION,
            "task": self.task,
            "model": self.model.model_dump(mode="json"),
            "facts": self.facts.as_json(),
            "degradation": self.degradation,
            "level": self.level,
            "parameters": self.parameters,
            "step": self.step,
            "samples": self.samples,
        }


def write_card(folder: Path, card: Card) -> None:
    """Write the card of a folder that is in the making."""
    (folder / "card.json").write_text(json.dumps(card.as_json(), indent=1) + "\n", encoding="utf-8")


def read_card(folder: Path) -> Card:
    """Return the card in a folder. Raises CheckpointError if it is none, or of a later version than this software."""
    path = folder / "card.json"
    try:
        content = read_json(path, CheckpointError, "use another checkpoint")
        version = content.get("version", 1)
        if version == 1:
            content = _of_version_1(content)
        elif version != VERSION:
            raise CheckpointError(
                f"is a card of version {version!r}, this software reads up to {VERSION}",
                where=path,
                cure="use the hpc_sr that wrote it, or a newer one",
            )
        model = parse_model(content["model"], path)
        told = {name: content[name] for name in ("task", "degradation", "level", "parameters", "step", "samples")}
        return Card(model=model, facts=Facts.from_json(content["facts"]), **told)
    except CheckpointError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, HpcSrError) as error:
        raise CheckpointError(f"is no model card ({error})", where=path, cure="use another checkpoint") from error


def _of_version_1(content: dict[str, Any]) -> dict[str, Any]:
    """Return a card from before there were versions in the form of today.

    All networks divided by NETWORK_UNIT then, those of pictures too, and `attention` was an option of every family.
    """
    model = dict(content["model"])
    if model["family"] != "s2x":
        model.pop("attention", None)
    units = {"stored": content.get("stored_units", ""), "unit": NETWORK_UNIT}
    facts = {"patch_px": content["patch_px"], "units": units, "means": {}, "laws": {}}
    return {**content, "model": model, "facts": facts}


def check_level(card: Card, level: str, where: str | Path) -> None:
    """Raise LevelError unless a product or store is of the level that the model was trained on."""
    if level != card.level:
        raise LevelError(
            f"is {level}, the model was trained on {card.level}", where=where, cure=f"use a model trained on {level}"
        )


def check_for_use(card: Card, where: str | Path) -> None:
    """Raise RecipeError for a network of a task that only prepares for another one."""
    if not task_by_name(card.task).for_use:
        raise RecipeError(
            f"is of task {card.task}, which only prepares for another one",
            where=where,
            cure="`hpc-sr export RUN --task s6x` and take what it writes",
        )


def check_same_model(found: Card, wanted: Card, where: Path, cure: str, data: tuple[str, ...] = TRAINED_ON) -> None:
    """Raise ArchitectureError, naming each field that differs, unless two cards describe the same kind of model.

    `data` are the fields that tell what it is trained on.
    """
    differing = [
        f"{name} is {getattr(found, name)!r}, the recipe says {getattr(wanted, name)!r}"
        for name in data
        if getattr(found, name) != getattr(wanted, name)
    ]
    if found.network_unit != wanted.network_unit:
        differing.append(
            f"its network saw stored values divided by {found.network_unit:g}, one of today sees them divided by "
            f"{wanted.network_unit:g}"
        )
    of_found, of_wanted = found.model.model_dump(), wanted.model.model_dump()
    differing += [
        f"model.{key} is {of_found.get(key)!r}, the recipe says {of_wanted.get(key)!r}"
        for key in sorted(of_found.keys() | of_wanted.keys())
        if of_found.get(key) != of_wanted.get(key)
    ]
    if differing:
        raise ArchitectureError(f"is of another model: {'; '.join(differing)}", where=where, cure=cure)
