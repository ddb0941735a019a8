"""A run directory while `hpc-sr train` is at it: one command at a time, described once everything is checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hpc_sr.comm.communicator import Comm
from hpc_sr.disk import telling, write_atomically
from hpc_sr.errors import HpcSrError, OutputError, RecipeError
from hpc_sr.locks import lock, unlock
from hpc_sr.logs import logger
from hpc_sr.recipe import Recipe, as_yaml, load_run_recipe
from hpc_sr.weights.folder import list_checkpoints

_LOCK = ".lock"
#: Keys of what a checkpoint holds the state of: another optimizer or critic has no use for it.
_FIXED = ("optimizer.name", "objective.method", "objective.critic_optimizer.name", "objective.critic.")
#: A rank 0 that was lost may take this long to be gone.
_PATIENCE_S = 5.0
#: Keys, or sections, that may change from one command to the next. They decide neither what is learned nor how; of
#: model and task the checkpoint's own card tells.
_FREE = {
    "model",
    "task",
    "name",
    "prepare",
    "images",
    "comm",
    "objective.best_by",
    "objective.start_from",
    "schedule.total_samples",
    "train.accumulation_steps",
    "train.batch_size_per_rank",
    "train.checkpoint_every_steps",
    "train.compile",
    "train.deterministic",
    "train.evaluate_every_steps",
    "train.keep_checkpoints",
    "train.log_every_steps",
    "train.max_skipped_steps",
    "train.precision",
    "train.runs",
    "train.stage",
}

Changes = dict[str, tuple[Any, Any]]


@contextmanager
def held(directory: Path, comm: Comm) -> Iterator[None]:
    """Hold a run directory, made if absent, until the block ends or the process does. Collective.

    Raises OutputError, on every rank, if another command holds it, or it cannot be made.
    """
    failure: HpcSrError | None = None
    file = None
    if comm.rank == 0:
        try:
            with telling(directory):
                directory.mkdir(parents=True, exist_ok=True)
                file = lock(directory / _LOCK, patience_s=_PATIENCE_S)
        except OutputError as error:
            failure = _told(error, directory)
    failure = comm.broadcast(failure)
    if failure is not None:
        raise failure
    try:
        yield
    finally:
        if file is not None:
            unlock(directory / _LOCK, file)
            with suppress(OSError):
                directory.rmdir()  # a run that was refused before it began leaves nothing


def _told(error: OutputError, directory: Path) -> OutputError:
    cause = error.__cause__
    if not isinstance(cause, BlockingIOError):  # else others hold it
        return OutputError(error.problem, where=directory, cure="set train.runs to a writable folder")
    return OutputError(
        f"another `hpc-sr train` is at this run: the lock {cause.strerror}",
        where=directory,
        cure="wait for it, stop it, or choose another run name (name=...)",
    )


def check_changes(directory: Path, recipe: Recipe, allowed: bool) -> Changes:
    """Return what a recipe changes about a run that has checkpoints: old and new value by key.

    Raises RecipeError if it would change what is learned, or how, and that is not allowed; or if it never can.
    """
    if not list_checkpoints(directory):
        return {}
    try:
        before = load_run_recipe(directory)
    except HpcSrError as error:
        logger.warning("what the run was trained with before cannot be compared (%s)", error)
        return {}
    old, new = _flat(before.model_dump(mode="json")), _flat(recipe.model_dump(mode="json"))
    differing = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    changes = {key: (old.get(key), new.get(key)) for key in differing}
    told = ", ".join(f"{key} {was!r} -> {now!r}" for key, (was, now) in changes.items())
    if any(key.startswith(_FIXED) for key in changes):
        raise RecipeError(
            f"cannot go on with another optimizer, critic or way of training ({told})",
            where=directory,
            cure="choose another run name, and begin with these weights: objective.start_from=" + str(directory),
        )
    decisive = [key for key in changes if not _is_free(key)]
    if decisive and not allowed:
        raise RecipeError(
            f"was trained with other settings ({told})",
            where=directory,
            cure="give --allow-change to go on with the new ones from here, or another run name (name=...)",
        )
    if changes:
        logger.warning("going on with other settings: %s", told)
    return changes


def describe(
    directory: Path, comm: Comm, recipe: Recipe, environment: dict[str, Any], changes: Changes, step: int
) -> None:
    """Write recipe.yaml and environment.json, and a line of changes.jsonl where settings changed. Rank 0 writes."""
    if comm.rank == 0:
        with telling(directory):
            write_atomically(directory / "recipe.yaml", as_yaml(recipe))
            write_atomically(directory / "environment.json", json.dumps(environment, indent=1) + "\n")
            if changes:
                with (directory / "changes.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"step": step, "changes": changes}) + "\n")
    comm.barrier()


def _is_free(key: str) -> bool:
    return key in _FREE or key.split(".", 1)[0] in _FREE


def _flat(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in section.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found
