"""What survives a run, and how it gets to disk: written beside, flushed, renamed; the last K and the best are kept.

checkpoints/step_00012000/{card.json, generator.pt, training.pt, state.json}     checkpoints/best.json
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.optim import Optimizer

from hpc_sr.comm.communicator import Comm
from hpc_sr.errors import CheckpointError, HpcSrError, OutputError
from hpc_sr.logs import logger, write_atomically
from hpc_sr.models.generator import Generator
from hpc_sr.weights import (
    Card,
    check_same_model,
    list_checkpoints,
    load_weights,
    read_card,
    read_tensors,
    save_generator,
)


@dataclass
class TrainState:
    """All that must survive: a thing that is not listed here is a function of these and the recipe.

    `samples` is the loader's position in the stream; `best` the lowest validation RMSE so far. The ranks' random
    number generators are saved beside.
    """

    generator: Generator
    optimizer: Optimizer
    step: int = 0
    samples: int = 0
    best: float | None = None

    def improves(self, rmse: float) -> bool:
        """Return whether this validation RMSE is the lowest so far, and remember it if so."""
        if self.best is not None and rmse >= self.best:
            return False
        self.best = rmse
        return True


class Checkpoints:
    """The checkpoints of one run directory. Methods are collective: every rank calls them."""

    def __init__(self, run_directory: Path, comm: Comm, keep: int):
        self._folder, self._run = run_directory / "checkpoints", run_directory
        self._comm, self._keep = comm, keep

    def save(self, state: TrainState, card: Card, is_best: bool) -> None:
        """Write a checkpoint of this step. If rank 0 cannot write, every rank raises OutputError; older ones stay."""
        random = self._comm.gather(_random_state(self._comm.device))
        failure: HpcSrError | None = None
        if self._comm.rank == 0:
            try:
                self._write(state, card, random, is_best)
            except OSError as error:
                failure = OutputError(
                    f"cannot be written ({error})",
                    where=self._folder,
                    cure="free disk space, then run again to resume",
                )
        failure = self._comm.broadcast(failure)
        if failure is not None:
            raise failure

    def restore(self, state: TrainState, card: Card) -> bool:
        """Bring the state to the newest checkpoint and return whether there was one.

        Every rank reads the same files. Raises ArchitectureError if the run directory is of another model.
        """
        found = self._comm.broadcast(list_checkpoints(self._run)[-1:])
        if not found:
            return False
        folder = found[0]
        check_same_model(read_card(folder), card, folder / "card.json")
        load_weights(state.generator, read_tensors(folder / "generator.pt"), folder / "generator.pt")
        training = read_tensors(folder / "training.pt")
        state.optimizer.load_state_dict(training["optimizer"])
        if len(training["random"]) == self._comm.world_size:
            _set_random_state(training["random"][self._comm.rank], self._comm.device)
        try:
            told = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            state.step, state.samples, state.best = told["step"], told["samples"], told["best"]
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"cannot be read ({error})", where=folder / "state.json", cure="delete this checkpoint"
            ) from error
        logger.info("resumed from %s at step %d", folder, state.step)
        return True

    def _write(self, state: TrainState, card: Card, random: list[dict[str, torch.Tensor]], is_best: bool) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / f"step_{state.step:08d}"
        partial = self._folder / f".{target.name}.{os.getpid()}.partial"
        try:
            partial.mkdir()
            torch.save({"optimizer": state.optimizer.state_dict(), "random": random}, partial / "training.pt")
            told = {"step": state.step, "samples": state.samples, "best": state.best}
            (partial / "state.json").write_text(json.dumps(told) + "\n", encoding="utf-8")
            save_generator(partial, state.generator, card)
            for file in [*partial.iterdir(), partial]:
                _flush_to_disk(file)
            if target.exists():
                shutil.rmtree(target)
            partial.replace(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        if is_best:
            write_atomically(
                self._folder / "best.json", json.dumps({"checkpoint": target.name, "rmse": state.best}) + "\n"
            )
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


def _random_state(device: torch.device) -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
