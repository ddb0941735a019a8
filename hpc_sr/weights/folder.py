"""A trained generator on disk: a folder with its tensors and its card.

Training writes them into every checkpoint, as `generator.pt`; an exported folder has `model.safetensors`. Inference
and evaluation read both. Either folder is renamed into place when it is complete, so a folder with a card is whole.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from hpc_sr.config import plain_name
from hpc_sr.disk import is_there, read_file, read_json, sha256_of, telling, whole_folder
from hpc_sr.errors import CheckpointError, OutputError
from hpc_sr.models.generator import Generator
from hpc_sr.weights.card import Card, write_card

#: A checkpoint's list of checksums, as `sha256sum -c` reads it.
SUMS = "SHA256SUMS"
#: Of the scores of a validation, those that are better when they are higher.
_HIGH_IS_GOOD = ("sre", "psnr", "ssim")


def save_generator(folder: Path, generator: Generator, card: Card) -> None:
    """Write a generator and its card into an existing folder."""
    torch.save(generator.state_dict(), folder / "generator.pt")
    write_card(folder, card)


def write_folder(folder: Path, generator: Generator, card: Card) -> None:
    """Write a new folder of a generator and its card, whole or not at all.

    Raises OutputError if it exists or cannot be written.
    """
    try:
        with whole_folder(folder) as partial:
            save_generator(partial, generator, card)
    except (OSError, RuntimeError) as error:  # torch tells of a full disk by the latter
        raise OutputError(f"cannot be written ({error})", where=folder, cure="give a writable place") from error


def find_checkpoint(path: str | Path) -> Path:
    """Return the checkpoint folder that a path means: itself, or of a run directory the one to use."""
    path = Path(path)
    with telling(path, CheckpointError, "read"):
        if (path / "card.json").exists():
            return path
        found = list_checkpoints(path)
    if not found:
        raise CheckpointError("holds no checkpoint", where=path, cure="give a run directory that `hpc-sr train` wrote")
    return best_of(found) or found[-1]


def is_run(path: Path) -> bool:
    """Return whether a path is what a trained network is loaded from: a run with checkpoints, or one's own folder."""
    return os.path.exists(path / "card.json") or os.path.isdir(path / "checkpoints")  # False of too long a name


def best_of(checkpoints: list[Path]) -> Path | None:
    """Return the checkpoint with the best validation score of a run's, given oldest first; None: the newest is meant.

    The score is the one that the newest was made to be chosen by. Nothing else says which is best, so no kill can
    leave an older word behind. A damaged checkpoint has no say.
    """
    clocks = {folder: clock for folder in checkpoints if (clock := _clock(folder))}
    chosen_by = next(reversed(clocks.values()))["best_by"] if clocks else None
    best: Path | None = None
    for folder, clock in clocks.items():
        if chosen_by is None or clock["best_by"] != chosen_by or not _is_number(clock.get("score")):
            continue
        if best is None or is_better(chosen_by, clock["score"], clocks[best]["score"]):
            best = folder
    return best


def is_better(score: str, value: float, other: float) -> bool:
    """Return whether a value of a validation's score is better than another."""
    return value > other if score in _HIGH_IS_GOOD else value < other


def _is_number(score: Any) -> bool:
    return isinstance(score, (int, float)) and math.isfinite(score)


def _clock(folder: Path) -> dict[str, Any]:
    """Return what a checkpoint says of its step and scores; nothing where it cannot be read, or is damaged."""
    try:
        if _wrong(folder, _recorded_sums(folder), ["state.json"]):
            return {}
    except CheckpointError:
        return {}
    content = _mapping_in(folder / "state.json")
    if content and "best_by" not in content:  # runs of before named the best one, by RMSE, in a file beside it
        best = _mapping_in(folder.with_name("best.json"))
        content |= {"best_by": "rmse", "score": best.get("rmse") if best.get("checkpoint") == folder.name else None}
    return content


def _mapping_in(path: Path) -> dict[str, Any]:
    try:
        return read_json(path, CheckpointError, "use another checkpoint")
    except CheckpointError:
        return {}


def find_weights(folder: Path) -> Path:
    """Return the file of a folder that holds its generator's tensors.

    Raises CheckpointError if there is none, or if it or the card is not as it was written.
    """
    path = next((folder / name for name in ("generator.pt", "model.safetensors") if (folder / name).exists()), None)
    if path is None:
        raise CheckpointError(
            "holds a card and no weights", where=folder, cure="export the run again, safetensors among the formats"
        )
    wrong = _wrong(folder, _recorded_sums(folder), [path.name, "card.json"])
    if wrong:
        raise CheckpointError(
            f"is damaged: {' and '.join(wrong)} differ from the recorded checksum",
            where=folder,
            cure="use another checkpoint, or export the run again; `hpc-sr train` puts damaged ones aside",
        )
    return path


def _recorded_sums(folder: Path) -> dict[str, str]:
    """Return the checksums that a checkpoint or an exported folder lists, by file; none of older folders."""
    cure = "use another checkpoint"
    try:
        if is_there(folder / SUMS):
            text = read_file(folder / SUMS, CheckpointError, cure).decode("utf-8")
            sums = {name: digest for digest, name in (line.split("  ", 1) for line in text.splitlines())}
        else:
            files = read_json(folder / "card.json", CheckpointError, cure).get("files", {})
            sums = {name: file["sha256"] for name, file in files.items()}
        for name, digest in sums.items():
            if not re.fullmatch("[0-9a-f]{64}", digest):
                raise ValueError(f"{digest[:70]!r} is none")
            plain_name(name)
        return sums
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"has checksums that cannot be read ({error})", where=folder, cure=cure) from error


def _wrong(folder: Path, sums: dict[str, str], names: Iterable[str]) -> list[str]:
    """Return those of the names whose file is not what was recorded, or has no record where there is a list of them."""
    listed = is_there(folder / SUMS)
    return [name for name in names if (listed or name in sums) and not _is_as(folder / name, sums.get(name))]


def _is_as(path: Path, digest: str | None) -> bool:
    try:
        return path.is_file() and sha256_of(path) == digest
    except OSError:
        return False


def find_damage(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint's files, or None if all are as they were written."""
    try:
        wanted = _recorded_sums(folder) if is_there(folder / SUMS) else {}
    except CheckpointError as error:
        return error.problem
    wrong = _wrong(folder, wanted, wanted)
    missing = {"card.json", "generator.pt", "training.pt", "state.json"} - wanted.keys()
    return f"{', '.join([*wrong, *sorted(missing)])} differ from {SUMS}" if wrong or missing else None


def list_checkpoints(run_directory: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first. A folder that has lost its card is one, and damaged."""
    return sorted(p for p in (run_directory / "checkpoints").glob("step_*") if p.is_dir())
