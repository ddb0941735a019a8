"""The loop."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.optim import Optimizer

from hpc_sr.comm.communicator import Comm
from hpc_sr.data.dataset import Patches
from hpc_sr.data.loader import Loader
from hpc_sr.errors import DegradationError, ManifestError, TrainingError
from hpc_sr.evaluate.protocol import evaluate_patches
from hpc_sr.logs import logger, track
from hpc_sr.losses.content import CONTENT_LOSSES
from hpc_sr.losses.options import LossOptions
from hpc_sr.models.build import build_generator, count_parameters
from hpc_sr.models.generator import Generator
from hpc_sr.models.options import ModelOptions
from hpc_sr.models.precision import choose_precision
from hpc_sr.shards.reader import Store
from hpc_sr.tasks import NETWORK_UNIT, Task
from hpc_sr.train.checkpoint import Checkpoints, TrainState
from hpc_sr.train.diary import Diary
from hpc_sr.train.options import OptimizerOptions, ScheduleOptions, TrainOptions
from hpc_sr.train.schedule import Schedule, is_due, resolve
from hpc_sr.train.step import ContentStep
from hpc_sr.weights import Card


@dataclass(frozen=True)
class Run:
    """One training run: where it lives, what it learns from, and the sections of its recipe."""

    directory: Path
    task: Task
    store: Path
    degradation: str | None
    model: ModelOptions
    loss: LossOptions
    optimizer: OptimizerOptions
    schedule: ScheduleOptions
    train: TrainOptions


@dataclass(frozen=True)
class _Workshop:
    """What the loop works with."""

    state: TrainState
    card: Card
    schedule: Schedule
    step: ContentStep
    loader: Loader
    validation: Patches
    checkpoints: Checkpoints


def train(run: Run, comm: Comm) -> TrainState:
    """Train, or go on training, until the schedule ends or a signal asks to stop; return the final state.

    Collective. Writes metrics.jsonl, TensorBoard events and checkpoints into the run directory.
    Raises StoreError, ChecksumError, DegradationError, ArchitectureError before the first step; TrainingError if the
    loss is no longer finite; OutputError if a checkpoint cannot be written.
    """
    options = run.train
    shop = _set_up(run, comm)
    state, schedule = shop.state, shop.schedule
    if state.step >= schedule.total_steps:
        logger.info("nothing to do: step %d of %d", state.step, schedule.total_steps)
        return state
    size = options.batch_size_per_rank * comm.world_size
    stopping = False
    with (
        Diary(run.directory, comm, global_batch_size=size, resume_step=state.step) as diary,
        stop_on_signals() as stop,
        closing(shop.loader.batches(start=state.samples)) as batches,
    ):
        left = schedule.total_steps - state.step
        state.generator.train()
        for batch in diary.waited_for(track(batches, "training", total=left, shown=comm.rank == 0)):
            set_learning_rate(state.optimizer, schedule.learning_rate(state.step))
            diary.add(shop.step(batch))
            state.step, state.samples = state.step + 1, batch.samples
            done = state.step == schedule.total_steps
            if done or is_due(state.step, options.log_every_steps):
                terms = diary.log(state.step, state.samples, schedule)
                _check_finite(terms["loss"], state.step, run)
                stopping = comm.any(stop.requested)
            is_best = False
            if len(shop.validation) and (done or is_due(state.step, options.evaluate_every_steps)):
                scores = evaluate_patches(state.generator, shop.validation, run.task, comm, shop.step.precision)
                diary.validation(state.step, state.samples, scores)
                is_best = state.improves(scores["rmse"])
                state.generator.train()
            if done or stopping or is_best or is_due(state.step, options.checkpoint_every_steps):
                card = replace(shop.card, step=state.step, samples=state.samples)
                shop.checkpoints.save(state, card, is_best)
            if done or stopping:
                logger.info("%s at step %d", "finished" if done else "stopped by a signal", state.step)
                break
    return state


def _set_up(run: Run, comm: Comm) -> _Workshop:
    """Build everything the loop needs and bring it to the newest checkpoint. Collective."""
    options = run.train
    store = open_verified_store(run, comm)
    # The same kernels every time: a resumed run must repeat what an unbroken one computes.
    torch.backends.cudnn.deterministic = True
    torch.manual_seed(options.seed)
    generator, card = _new_generator(run, store, comm)
    forward, optimizer = comm.distribute(generator, _adam(generator, run.optimizer))
    size = options.batch_size_per_rank * comm.world_size
    schedule = resolve(run.schedule, run.optimizer, global_batch_size=size, world_size=comm.world_size)
    precision = choose_precision(options.precision, comm.device)
    loss = CONTENT_LOSSES[run.loss.content]
    step = ContentStep(forward, optimizer, loss, run.task, comm.device, precision, options.augment)
    patch_px = store.manifest.patch_px
    training, validation = (Patches.of(store.split(name), run.task, patch_px) for name in ("train", "validation"))
    loader = Loader(
        training, rank=comm.rank, world_size=comm.world_size, batch_size_per_rank=options.batch_size_per_rank,
        seed=options.seed, pin_memory=comm.device.type == "cuda",
    )  # fmt: skip
    # Wrapping empties an optimizer, so the state is loaded into the wrapped one.
    state = TrainState(generator, optimizer)
    checkpoints = Checkpoints(run.directory, comm, options.keep_checkpoints)
    checkpoints.restore(state, card)
    logger.info(
        "%s: %s, %s parameters, %d ranks (%s) on %s, %s", run.directory, card.family, f"{card.parameters:,}",
        comm.world_size, comm.backend, comm.device, precision,
    )  # fmt: skip
    logger.info(
        "%d training patches, %d held out; global batch %d = %d x %d; steps %d to %d; learning rate %.3g",
        len(training), len(validation), size, options.batch_size_per_rank, comm.world_size, state.step,
        schedule.total_steps, schedule.peak_lr,
    )  # fmt: skip
    return _Workshop(state, card, schedule, step, loader, validation, checkpoints)


def open_verified_store(run: Run, comm: Comm) -> Store:
    """Return the run's store after checking it: task, degradation, and each shard's checksum, shared out to ranks."""
    store = Store(run.store)
    manifest = store.manifest
    if manifest.task != run.task.name:
        raise ManifestError(
            f"is of task {manifest.task!r}, the recipe of {run.task.name!r}", where=store.path,
            cure="give the store of this task",
        )  # fmt: skip
    if run.degradation is not None and manifest.degradation != run.degradation:
        raise DegradationError(
            f"was made with {manifest.degradation!r}, the recipe says {run.degradation!r}", where=store.path,
            cure="prepare a store of its own for each degradation",
        )  # fmt: skip
    store.verify(comm.rank, comm.world_size)
    return store


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Give every parameter group this rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def _new_generator(run: Run, store: Store, comm: Comm) -> tuple[Generator, Card]:
    statistics = store.manifest.statistics
    means = {layer.name: [m / NETWORK_UNIT for m in statistics[layer.name]["mean"]] for layer in run.task.inputs}
    generator = build_generator(run.model, run.task, store.manifest.patch_px, means).to(comm.device)
    card = Card(
        task=run.task.name, patch_px=store.manifest.patch_px, model=run.model.model_dump(exclude_none=True),
        degradation=store.manifest.degradation, level=store.manifest.level,
        parameters=count_parameters(generator), step=0, samples=0,
    )  # fmt: skip
    return generator, card


def _adam(generator: Generator, options: OptimizerOptions) -> Optimizer:
    return torch.optim.Adam(generator.parameters(), lr=options.base_lr, betas=options.betas, eps=options.eps)


def _check_finite(loss: float, step: int, run: Run) -> None:
    # The loss is a mean over ranks, so all of them come to the same verdict.
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss is {loss} at step {step}", where=run.directory,
            cure="lower optimizer.base_lr or lengthen schedule.warmup_samples; the last checkpoint is whole",
        )  # fmt: skip


class StopFlag:
    """Whether a signal has asked this process to stop at the next log line."""

    def __init__(self) -> None:
        self.requested = False


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Turn SIGTERM and SIGUSR1 (a batch system's warning) into a flag for the time of the block."""
    flag = StopFlag()

    def note(number: int, frame: object) -> None:
        flag.requested = True

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
