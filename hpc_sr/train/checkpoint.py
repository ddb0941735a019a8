"""What survives a run, and how it gets to disk: written beside, flushed, renamed; the last K and the best are kept.

checkpoints/step_00012000/{card.json, generator.pt, training.pt, state.json, SHA256SUMS}     checkpoints/best.json

`generator.pt` is what is used afterwards: the averaged weights if the run averages. `sha256sum -c SHA256SUMS` tells
whether a checkpoint is whole.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from hpc_sr.comm.communicator import Comm
from hpc_sr.disk import sha256_of, whole_folder, write_atomically
from hpc_sr.errors import CheckpointError, HpcSrError, OutputError
from hpc_sr.logs import logger
from hpc_sr.models.generator import Generator
from hpc_sr.weights.card import Card, check_same_model, read_card
from hpc_sr.weights.folder import list_checkpoints, save_generator
from hpc_sr.weights.tensors import load_weights, read_tensors

_SUMS = "SHA256SUMS"


@dataclass
class TrainState:
    """All that must survive: a thing that is not listed here is a function of these and the recipe.

    `samples` is the loader's position in the stream; `best` the lowest validation RMSE so far. `reductions` counts
    how often a plateau has lowered the learning rate, `waiting_since` is the stream position of the last improvement
    or reduction. `average` is the running mean of the weights. The ranks' random number generators are saved beside.
    """

    generator: Generator
    optimizer: Optimizer
    scaler: GradScaler
    average: AveragedModel | None = None
    step: int = 0
    samples: int = 0
    best: float | None = None
    reductions: int = 0
    waiting_since: int = 0

    @property
    def used(self) -> Generator:
        """The generator that is validated and kept for use."""
        return self.generator if self.average is None else self.average.module

    def improves(self, rmse: float, patience_samples: int | None) -> bool:
        """Return whether this validation RMSE is the lowest so far, and remember what follows from it."""
        better = self.best is None or rmse < self.best
        if better:
            self.best, self.waiting_since = rmse, self.samples
        elif patience_samples is not None and self.samples - self.waiting_since >= patience_samples:
            self.reductions, self.waiting_since = self.reductions + 1, self.samples
        return better


_NUMBERS = ("step", "samples", "best", "reductions", "waiting_since")


class Checkpoints:
    """The checkpoints of one run directory. Methods are collective: every rank calls them."""

    def __init__(self, run_directory: Path, comm: Comm, keep: int):
        self._folder, self._run = run_directory / "checkpoints", run_directory
        self._comm, self._keep = comm, keep

    def save(self, state: TrainState, card: Card, is_best: bool) -> None:
        """Write a checkpoint of this step. If rank 0 cannot write, every rank raises OutputError; older ones stay."""
        random = self._comm.gather(_random_state(self._comm.device))
        moments = state.optimizer.state_dict()
        all_moments = self._comm.gather(moments) if self._comm.own_moments else [moments]
        failure: HpcSrError | None = None
        if self._comm.rank == 0:
            try:
                self._write(state, card, {"random": random, "optimizers": all_moments}, is_best)
            except (OSError, RuntimeError) as error:  # torch tells of a full disk by the latter
                failure = OutputError(
                    f"step {state.step} cannot be written ({_first_line(error)}); older checkpoints are whole",
                    where=self._folder,
                    cure="free disk space, then run again to resume",
                )
        failure = self._comm.broadcast(failure)
        if failure is not None:
            raise failure

    def restore(self, state: TrainState, card: Card) -> bool:
        """Bring the state to the newest whole checkpoint and return whether there was one.

        Every rank reads the same files. A torn or corrupted checkpoint is put aside, as `damaged_step_N`, with a
        warning. Raises ArchitectureError if the run directory is of another model, CheckpointError if it has
        checkpoints and none of them is whole.
        """
        found: Path | HpcSrError | None = None
        if self._comm.rank == 0:
            try:
                found = self._newest_whole()
            except HpcSrError as error:
                found = error
        found = self._comm.broadcast(found)
        if isinstance(found, HpcSrError):
            raise found
        if found is None:
            return False
        check_same_model(read_card(found), card, found / "card.json")
        self._load(found, state)
        logger.info("resumed from %s at step %d, %s samples", found, state.step, f"{state.samples:,}")
        return True

    def _newest_whole(self) -> Path | None:
        there = list_checkpoints(self._run)
        for folder in reversed(there):
            damage = find_damage(folder)
            if damage is None:
                return folder
            aside = folder.with_name(f"damaged_{folder.name}")
            shutil.rmtree(aside, ignore_errors=True)
            folder.replace(aside)
            logger.warning("%s is damaged (%s): put aside, going back to the one before", folder, damage)
        if there:
            raise CheckpointError(
                "holds checkpoints, and none of them is whole",
                where=self._folder,
                cure="look at the damaged_* folders; to start anew remove them or choose another run name",
            )
        return None

    def _load(self, folder: Path, state: TrainState) -> None:
        training = read_tensors(folder / "training.pt")
        kept = read_tensors(folder / "generator.pt")
        load_weights(state.generator, training["weights"] or kept, folder / "training.pt")
        if state.average is not None:
            load_weights(state.used, kept, folder / "generator.pt")
            state.average.n_averaged.fill_(training["averaged"] or 1)
        moments = training["optimizers"]
        state.optimizer.load_state_dict(moments[self._comm.rank if len(moments) == self._comm.world_size else 0])
        if training["scaler"] and state.scaler.is_enabled():
            state.scaler.load_state_dict(training["scaler"])
        if len(training["random"]) == self._comm.world_size:
            _set_random_state(training["random"][self._comm.rank], self._comm.device)
        told = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        for name in _NUMBERS:
            setattr(state, name, told[name])

    def _write(self, state: TrainState, card: Card, of_ranks: dict[str, list[Any]], is_best: bool) -> None:
        target = self._folder / f"step_{state.step:08d}"
        averages = state.average is not None
        training = {
            **of_ranks,
            "scaler": state.scaler.state_dict(),
            "weights": state.generator.state_dict() if averages else None,
            "averaged": int(state.average.n_averaged) if averages else None,
        }
        with whole_folder(target, replace=True) as partial:
            torch.save(training, partial / "training.pt")
            numbers = {name: getattr(state, name) for name in _NUMBERS}
            (partial / "state.json").write_text(json.dumps(numbers) + "\n", encoding="utf-8")
            save_generator(partial, state.used, card)
            sums = "".join(f"{sha256_of(file)}  {file.name}\n" for file in sorted(partial.iterdir()))
            (partial / _SUMS).write_text(sums, encoding="utf-8")
        if is_best:
            best = {"checkpoint": target.name, "rmse": state.best}
            write_atomically(self._folder / "best.json", json.dumps(best) + "\n")
        self._prune()

    def _prune(self) -> None:
        """Remove what killed runs left half-written, and whole checkpoints beyond the last K and the best."""
        for partial in self._folder.glob(".step_*.partial"):
            shutil.rmtree(partial, ignore_errors=True)
        best_file = self._folder / "best.json"
        best = json.loads(best_file.read_text(encoding="utf-8"))["checkpoint"] if best_file.exists() else None
        for old in list_checkpoints(self._run)[: -self._keep]:
            if old.name != best:
                shutil.rmtree(old, ignore_errors=True)


def find_damage(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint's files, or None if all are as they were written."""
    try:
        lines = (folder / _SUMS).read_text(encoding="utf-8").splitlines()
        wanted = dict(reversed(line.split("  ", 1)) for line in lines)
        wrong = [name for name, expected in wanted.items() if sha256_of(folder / name) != expected]
    except (OSError, ValueError) as error:
        return str(error)
    missing = {"card.json", "generator.pt", "training.pt", "state.json"} - wanted.keys()
    return f"{', '.join([*wrong, *sorted(missing)])} differ from {_SUMS}" if wrong or missing else None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _random_state(device: torch.device) -> dict[str, Any]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_random_state(state: dict[str, Any], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
