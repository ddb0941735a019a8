"""What the ranks agree on every few steps: whether to stop, and whether updates had to be left out."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import torch

from hpc_sr.comm.communicator import Comm
from hpc_sr.data.dataset import Patches
from hpc_sr.data.loader import Batch
from hpc_sr.disk import write_atomically
from hpc_sr.errors import TrainingError
from hpc_sr.logs import logger
from hpc_sr.train.player import Update
from hpc_sr.train.stop import StopFlag

#: About how often ranks talk about stopping: a signal is obeyed within this time, and talking costs nothing.
_INTERVAL_S = 2.0


class Watch:
    """Collects what each step was, without waiting for it; `agree` is collective and all ranks come to the same end.

    Signals reach ranks at different times, and a loss may be NaN on one rank only. The steps at which ranks agree
    follow from times that they have agreed on before, so no rank asks alone.
    """

    def __init__(self, run: Path, comm: Comm, stop: StopFlag, patches: Patches, most_in_a_row: int):
        self._run, self._comm, self._stop, self._patches = run, comm, stop, patches
        self._most_in_a_row, self._in_a_row = most_in_a_row, 0
        self._seen: list[tuple[int, Update, torch.Tensor]] = []
        self._next, self._began = 0, time.monotonic()

    def note(self, step: int, update: Update, batch: Batch) -> None:
        """Remember a step until the next agreement."""
        self._seen.append((step, update, batch.indices))

    def is_due(self, step: int) -> bool:
        """Return whether the ranks agree after this step; the same on all of them."""
        return step >= self._next

    def agree(self, step: int) -> bool:
        """Return whether to stop now. Collective.

        Raises TrainingError on every rank if too many updates in a row were left out; the patches that they saw are
        in the run directory's `not_finite`, one file a step.
        """
        finite = torch.stack([update.finite & update.terms["loss"].isfinite() for _, update, _ in self._seen]).tolist()
        losses = torch.stack([update.terms["loss"] for _, update, _ in self._seen]).tolist()
        told = self._comm.gather((self._wants_to_stop(), finite, losses, time.monotonic() - self._began))
        self._count_skipped([numbers for _, numbers, _, _ in told], [numbers for _, _, numbers, _ in told])
        # At most twice as many steps as before: the first ones may have been quick, or slow, by chance.
        slowest_s = max(seconds for *_, seconds in told)
        self._next = step + max(1, int(len(self._seen) * min(2.0, _INTERVAL_S / slowest_s)))
        self._seen, self._began = [], time.monotonic()
        return any(stops for stops, *_ in told)

    def _wants_to_stop(self) -> bool:
        return self._stop.requested or self._comm.world_changes

    def _count_skipped(self, finite: list[list[bool]], losses: list[list[float]]) -> None:
        for place, (step, _, indices) in enumerate(self._seen):
            if all(rank[place] for rank in finite):
                self._in_a_row = 0
                continue
            self._in_a_row += 1
            too_many = self._in_a_row > self._most_in_a_row
            of_step = [rank[place] for rank in losses]
            # With loss scaling gradients overflow now and then by design: a loss that is not finite tells of data.
            if too_many or not all(math.isfinite(loss) for loss in of_step):
                self._save(step, indices, of_step)
            if too_many:
                raise TrainingError(
                    f"gradients were not finite in {self._in_a_row} updates in a row, the last at step {step} "
                    f"(losses by rank: {of_step})",
                    where=self._run,
                    cure="lower optimizer.base_lr, set train.clip_norm or lengthen schedule.warmup_samples; "
                    "not_finite/ names the patches; the last checkpoint is whole",
                )

    def _save(self, step: int, indices: torch.Tensor, losses: list[float]) -> None:
        """Write which patches every rank saw at a step. Collective."""
        seen = self._comm.gather(self._patches.describe(indices.tolist()))
        if self._comm.rank == 0:
            folder = self._run / "not_finite"
            folder.mkdir(exist_ok=True)
            ranks = [{"loss": str(loss), "patches": patches} for loss, patches in zip(losses, seen, strict=True)]
            write_atomically(folder / f"step_{step:08d}.json", json.dumps({"step": step, "ranks": ranks}) + "\n")
            logger.warning("step %d left out: losses by rank %s", step, losses)
