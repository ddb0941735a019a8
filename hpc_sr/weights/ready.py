"""Ready-made weights that travel with the package: sets of exported folders, one network for each level and task.

A set is a folder of `ready/`: in it `LEVEL_TASK/` for each network, with card, tensors, and a README.md that tells what
it was trained on, how good it is, and what it is not for.
"""

from __future__ import annotations

import difflib
import shutil
from pathlib import Path

from hpc_sr.disk import telling, whole_folder
from hpc_sr.errors import RecipeError
from hpc_sr.weights.card import Card, read_card

READY = Path(__file__).resolve().parent / "ready"
#: The set for each law of degradation, of the networks that are taken if nothing else is said.
USUAL = {"mtf": "detail_mtf", "wald": "detail_wald"}


def ready_sets() -> dict[str, dict[Path, Card]]:
    """Return the networks of each set: folder and card."""
    return {name: _cards(folder) for name, folder in _sets().items()}


def ready_for(name: str, level: str, bands: tuple[str, ...]) -> list[Path]:
    """Return the folders of a set's networks for a level, of those that find all their bands in an image.

    Raises RecipeError, with the nearest name, if there is no such set.
    """
    found = _cards(_set_called(name))
    return [folder for folder, card in found.items() if card.level == level and card.bands <= set(bands)]


def within_ready(path: Path) -> Path | None:
    """Return where in the ready-made weights a path lies; None for one outside, which is a user's own."""
    path = path.resolve()
    return path.relative_to(READY) if path.is_relative_to(READY) else None


def write_ready_set(name: str, out: Path) -> list[Path]:
    """Copy a set as a new folder; return its networks' folders there, which are used like exported runs.

    Raises RecipeError if there is no such set, OutputError if the folder is there or cannot be written.
    """
    chosen = _set_called(name)
    with telling(out), whole_folder(out) as folder:
        shutil.copytree(chosen, folder, dirs_exist_ok=True)
    return _members(out)


def _sets() -> dict[str, Path]:
    return {path.name: path for path in sorted(READY.iterdir()) if path.is_dir()}


def _set_called(name: str) -> Path:
    known = _sets()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        raise RecipeError(
            f"no ready-made weights are called {name!r}",
            where="--weights",
            cure=f"did you mean {near[0]!r}?" if near else "`hpc-sr weights` lists them",
        )
    return known[name]


def _cards(folder: Path) -> dict[Path, Card]:
    return {member: read_card(member) for member in _members(folder)}


def _members(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/card.json"))
