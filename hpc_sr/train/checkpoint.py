"""What survives a run, and how it gets to disk: written beside, flushed, renamed; the last K and the best are kept.

checkpoints/step_00012000/{card.json, generator.pt, training.pt, state.json, SHA256SUMS}

`generator.pt` is what is used afterwards: the averaged weights if the run averages. `training.pt` holds the other
parts of the state, `state.json` the clock. `sha256sum -c SHA256SUMS` tells whether a checkpoint is whole. The best
checkpoint is the one whose own clock has the best score: no file beside them says so.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel

from hpc_sr.comm.communicator import Comm
from hpc_sr.disk import Sums, read_json, sweep_partials, whole_folder
from hpc_sr.errors import CheckpointError, HpcSrError, OutputError
from hpc_sr.logs import logger
from hpc_sr.train.state import TrainState
from hpc_sr.weights.card import Card, check_same_model, read_card
from hpc_sr.weights.folder import SUMS, best_of, find_damage, list_checkpoints, save_generator
from hpc_sr.weights.tensors import load_weights, read_tensors

#: Files without a format are of format 1: one generator, its optimizer and scaler by names of their own.
_FORMAT = 2


class Checkpoints:
    """The checkpoints of one run directory. Methods are collective: every rank calls them."""

    def __init__(self, run_directory: Path, comm: Comm, keep: int):
        self._folder, self._run = run_directory / "checkpoints", run_directory
        self._comm, self._keep = comm, keep

    def save(self, state: TrainState, card: Card) -> None:
        """Write a checkpoint of this step. If rank 0 cannot write, every rank raises OutputError; older ones stay."""
        parts = {name: part.state_dict() for name, part in state.parts().items()}
        of_ranks = {"random": self._comm.gather(_random_state(self._comm.device))}
        if self._comm.own_moments:
            own = {name: values for name, values in parts.items() if name.endswith(".optimizer")}
            of_ranks["own"] = self._comm.gather(own)
        failure: HpcSrError | None = None
        if self._comm.rank == 0:
            try:
                self._write(state, card, {"format": _FORMAT, "parts": parts, "of_ranks": of_ranks})
            except (OSError, RuntimeError) as error:  # torch tells of a full disk by the latter
                failure = OutputError(
                    f"step {state.clock.step} cannot be written ({_first_line(error)}); older checkpoints are whole",
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
        cure = "choose another run name (name=...) or the checkpoint's own recipe"
        check_same_model(read_card(found), card, found / "card.json", cure)
        self._load(found, state)
        clock = state.clock
        logger.info("resumed from %s at step %d, %s samples", found, clock.step, f"{clock.samples:,}")
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
        if there or any(self._folder.glob("damaged_step_*")):
            raise CheckpointError(
                "holds checkpoints, and none of them is whole",
                where=self._folder,
                cure="look at the damaged_* folders; to start anew remove them or choose another run name",
            )
        return None

    def _load(self, folder: Path, state: TrainState) -> None:
        where, kept = folder / "training.pt", read_tensors(folder / "generator.pt")
        training = read_tensors(where)
        if training.get("format") != _FORMAT:
            training = _of_format_1(training)
        saved, of_ranks = training["parts"], training["of_ranks"]
        own = of_ranks.get("own", ())
        if len(own) == self._comm.world_size:
            saved |= own[self._comm.rank]
        for name, part in state.parts().items():
            if name == "clock":
                part.load_state_dict(_clock(folder, state))
            elif isinstance(part, torch.nn.Module):
                self._load_network(name, part, saved, kept, where)
            elif name in saved and (saved[name] or not name.endswith(".scaler")):
                part.load_state_dict(saved[name])
        if len(of_ranks["random"]) == self._comm.world_size:
            _set_random_state(of_ranks["random"][self._comm.rank], self._comm.device)

    def _load_network(
        self, name: str, network: torch.nn.Module, saved: dict[str, Any], kept: dict[str, torch.Tensor], where: Path
    ) -> None:
        if name == "average" and saved.get(name) is None:  # the run begins to average: with the weights there are
            assert isinstance(network, AveragedModel)
            load_weights(network.module, kept, where)
            network.n_averaged.fill_(1)
        else:
            # A part of None is what generator.pt holds.
            load_weights(network, kept if saved.get(name) is None else saved[name], where)

    def _write(self, state: TrainState, card: Card, training: dict[str, Any]) -> None:
        parts = training["parts"]
        clock = parts.pop("clock")
        if state.used is state.generator:
            parts[state.players[0].name] = None  # it is in generator.pt
        with whole_folder(self._folder / f"step_{state.clock.step:08d}", replace=True) as partial, Sums() as sums:
            torch.save(training, partial / "training.pt")
            sums.add(partial / "training.pt")
            (partial / "state.json").write_text(json.dumps(clock) + "\n", encoding="utf-8")
            save_generator(partial, state.used, card)
            sums.add(*partial.iterdir())
            (partial / SUMS).write_text(sums.text(), encoding="utf-8")
        self._prune()

    def _prune(self) -> None:
        """Remove what killed runs left half-written, and whole checkpoints beyond the last K and the best."""
        sweep_partials(self._folder)
        there = list_checkpoints(self._run)
        best = best_of(there)
        for old in there[: -self._keep]:
            if old != best:
                shutil.rmtree(old, ignore_errors=True)


def _clock(folder: Path, state: TrainState) -> dict[str, Any]:
    """Return a checkpoint's clock. The score that chooses is the recipe's; a best by another score means nothing."""
    told = read_json(folder / "state.json", CheckpointError, "use another checkpoint")
    chosen_by = state.clock.best_by
    if told.get("best_by", "rmse") != chosen_by:
        told |= {"best": None, "score": None}
    return told | {"best_by": chosen_by}


def _of_format_1(training: dict[str, Any]) -> dict[str, Any]:
    """Return what `training.pt` held before it had a format, in the form of today."""
    moments = training["optimizers"]
    parts = {
        "generator": training["weights"],
        "generator.optimizer": moments[0],
        "generator.scaler": training["scaler"],
        "average": None,
    }
    own = [{"generator.optimizer": state} for state in moments] if len(moments) > 1 else []
    return {"parts": parts, "of_ranks": {"random": training["random"], "own": own}}


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
