"""The trainer's own steps, ready to be timed: loader, diary and agreements, no validation and no checkpoints."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path

import torch

from hpc_sr.comm.communicator import Comm
from hpc_sr.data.dataset import Patches
from hpc_sr.data.loader import arriving_on
from hpc_sr.models.build import build_generator, count_parameters
from hpc_sr.models.facts import Facts
from hpc_sr.recipe import Recipe
from hpc_sr.tasks import task_by_name
from hpc_sr.train.diary import Diary
from hpc_sr.train.repeatable import repeatable
from hpc_sr.train.schedule import resolve
from hpc_sr.train.session import open_session
from hpc_sr.train.state import TrainState
from hpc_sr.train.stop import StopFlag
from hpc_sr.train.watch import Watch


class Trainer:
    """A recipe's training on patches of its task. Use as a context manager; every rank does the same.

    `folder` is where the diary writes, a line of metrics.jsonl for each timed round. A state that a checkpoint is
    restored to before entering goes on from there.
    """

    def __init__(self, recipe: Recipe, patches: Patches, patch_px: int, comm: Comm, folder: Path):
        model, schedule = recipe.to_train()
        self.schedule = resolve(schedule, recipe.optimizer, recipe.train, comm.world_size)
        self._comm, self._patches, self._folder = comm, patches, folder
        self._deterministic = recipe.train.deterministic
        self._most_skipped = recipe.train.max_skipped_steps
        torch.manual_seed(recipe.train.seed)
        generator = build_generator(model, task_by_name(recipe.task), Facts(patch_px)).to(comm.device)
        self.parameters = count_parameters(generator)
        self._session = open_session(
            generator, patches, recipe.objective, recipe.optimizer, recipe.train, self.schedule, comm
        )
        self.precision = self._session.precision

    @property
    def state(self) -> TrainState:
        """What a checkpoint of it would hold."""
        return self._session.state

    def __enter__(self) -> Trainer:
        with ExitStack() as opened:
            self._diary = opened.enter_context(
                Diary(self._folder, self._comm, self.schedule, resume_step=self.state.clock.step)
            )
            batches = opened.enter_context(closing(self._session.loader.batches(self.state.clock.samples)))
            self._watch = Watch(self._folder, self._comm, StopFlag(), self._patches, self._most_skipped)
            arriving = arriving_on(self._comm.device, batches)
            self._steps = opened.enter_context(closing(self._session.steps(arriving, self._diary, self._watch)))
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def run(self, steps: int) -> float:
        """Take so many steps, as the trainer does, and return the seconds waited for data when all is done."""
        before_s, clock = self._diary.waited_s, self._session.state.clock
        with repeatable(self._deterministic):  # as in training
            for _ in islice(self._steps, steps):
                if self._watch.is_due(clock.step):
                    self._watch.agree(clock.step)
            self._diary.wait()
        return self._diary.waited_s - before_s

    def timed_steps(self, steps: int) -> list[float]:
        """Take so many steps, each waited for, and return the seconds of each on this rank."""
        seconds = []
        for _ in range(steps):
            began = time.perf_counter()
            self.run(1)
            seconds.append(time.perf_counter() - began)
        return seconds

    def timed_round(self, steps: int) -> float:
        """Take so many steps between two barriers, log them, and return the seconds. Collective."""
        self._comm.barrier()
        began = time.perf_counter()
        self.run(steps)
        self._comm.barrier()
        took_s = time.perf_counter() - began
        clock = self._session.state.clock
        self._diary.log(clock.step, clock.samples)
        return took_s
