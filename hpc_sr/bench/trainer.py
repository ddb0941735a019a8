"""The trainer's loop, ready to be timed: its loader, step, diary and agreements, no validation and no checkpoints."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from pathlib import Path

import torch

from hpc_sr.comm.communicator import Comm
from hpc_sr.data.dataset import Patches
from hpc_sr.data.loader import arriving_on
from hpc_sr.models.build import build_generator, count_parameters
from hpc_sr.recipe import Recipe
from hpc_sr.tasks import task_by_name
from hpc_sr.train.diary import Diary
from hpc_sr.train.optimizers import set_learning_rate
from hpc_sr.train.schedule import resolve
from hpc_sr.train.stop import StopFlag
from hpc_sr.train.trainer import build_loader, build_step
from hpc_sr.train.watch import Watch


class Trainer:
    """A recipe's training on patches of its task. Use as a context manager; every rank does the same.

    `folder` is where the diary writes, a line of metrics.jsonl for each timed round.
    """

    def __init__(self, recipe: Recipe, patches: Patches, patch_px: int, comm: Comm, folder: Path):
        model, schedule = recipe.to_train()
        options, task = recipe.train, task_by_name(recipe.task)
        self.schedule = resolve(schedule, recipe.optimizer, options, comm.world_size)
        self._comm, self._patches, self._folder = comm, patches, folder
        self._step = self._samples = 0
        self._most_skipped = options.max_skipped_steps
        torch.manual_seed(options.seed)
        generator = build_generator(model, task, patch_px).to(comm.device)
        self.parameters = count_parameters(generator)
        self._content_step = build_step(generator, recipe.optimizer, recipe.loss, options, self.schedule, comm)
        self.precision = self._content_step.precision
        self._loader = build_loader(patches, options.seed, self.schedule, comm)

    def __enter__(self) -> Trainer:
        with ExitStack() as opened:
            self._diary = opened.enter_context(Diary(self._folder, self._comm, self.schedule, resume_step=0))
            batches = opened.enter_context(closing(self._loader.batches(0)))
            self._batches = self._diary.waited_for(arriving_on(self._comm.device, batches))
            self._watch = Watch(self._folder, self._comm, StopFlag(), self._patches, self._most_skipped)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def run(self, steps: int) -> float:
        """Take so many steps, as the trainer does, and return the seconds waited for data when all is done."""
        torch.backends.cudnn.deterministic = True  # as in training
        waited_s = 0.0
        for _ in range(steps):
            began = time.perf_counter()
            batch = next(self._batches)
            waited_s += time.perf_counter() - began
            set_learning_rate(self._content_step.optimizer, self.schedule.learning_rate(self._samples))
            update = self._content_step(batch)
            self._diary.add(update)
            self._step, self._samples = self._step + 1, batch.samples
            self._watch.note(self._step, update, batch)
            if self._watch.is_due(self._step):
                self._watch.agree(self._step)
        self._diary.wait()
        return waited_s

    def timed_round(self, steps: int) -> float:
        """Take so many steps between two barriers, log them, and return the seconds. Collective."""
        self._comm.barrier()
        began = time.perf_counter()
        self.run(steps)
        self._comm.barrier()
        took_s = time.perf_counter() - began
        self._diary.log(self._step, self._samples, self.schedule.learning_rate(self._samples))
        return took_s
