"""The loop."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.amp import GradScaler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hpc_sr.comm.communicator import Comm
from hpc_sr.data.dataset import Patches
from hpc_sr.data.loader import Loader, arriving_on
from hpc_sr.errors import DegradationError, ManifestError
from hpc_sr.evaluate.protocols.patches import evaluate_patches, peak_of
from hpc_sr.logs import logger, track
from hpc_sr.losses.content import CONTENT_LOSSES
from hpc_sr.losses.options import LossOptions
from hpc_sr.models.build import build_generator, count_parameters
from hpc_sr.models.generator import Generator
from hpc_sr.models.options import ModelOptions
from hpc_sr.models.precision import choose_precision
from hpc_sr.shards.reader import Store
from hpc_sr.shards.staging import staged
from hpc_sr.tasks import NETWORK_UNIT, Task
from hpc_sr.train.checkpoint import Checkpoints, TrainState
from hpc_sr.train.diary import Diary
from hpc_sr.train.optimizers import build_optimizer, set_learning_rate
from hpc_sr.train.options import OptimizerOptions, ScheduleOptions, TrainOptions
from hpc_sr.train.schedule import Schedule, is_due, resolve
from hpc_sr.train.step import ContentStep
from hpc_sr.train.stop import StopFlag
from hpc_sr.train.watch import Watch
from hpc_sr.weights.card import Card


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
class Outcome:
    """How far a run has come: `finished`, or stopped by a signal after a checkpoint."""

    step: int
    finished: bool


@dataclass(frozen=True)
class _Workshop:
    """What the loop works with."""

    state: TrainState
    card: Card
    schedule: Schedule
    step: ContentStep
    loader: Loader
    training: Patches
    validation: Patches
    checkpoints: Checkpoints
    peak: float


def train(run: Run, comm: Comm, stop: StopFlag) -> Outcome:
    """Train, or go on training, until the schedule ends or `stop` is requested on a rank; return how far it came.

    Collective. Writes metrics.jsonl, TensorBoard events and checkpoints into the run directory.
    Raises StoreError, ChecksumError, DegradationError, ArchitectureError before the first step; TrainingError if
    gradients stay not finite; OutputError if a checkpoint cannot be written.
    """
    with opened_store(run, comm) as store:
        return _run_loop(run, comm, _set_up(run, store, comm), stop)


def _run_loop(run: Run, comm: Comm, shop: _Workshop, stop: StopFlag) -> Outcome:
    options, state, schedule = run.train, shop.state, shop.schedule
    steps_left = schedule.steps_left(state.samples)
    if not steps_left:
        logger.info("nothing to do: %s samples seen at step %d", f"{state.samples:,}", state.step)
        return Outcome(state.step, finished=True)
    stopping, scores = False, None
    with (
        stop.kept(),
        Diary(run.directory, comm, schedule, resume_step=state.step) as diary,
        closing(shop.loader.batches(start=state.samples)) as batches,
    ):
        watch = Watch(run.directory, comm, stop, shop.training, options.max_skipped_steps)
        state.generator.train()
        on_device = track(arriving_on(comm.device, batches), "training", total=steps_left, shown=comm.rank == 0)
        for batch in diary.waited_for(on_device):
            rate = schedule.learning_rate(state.samples, state.reductions)
            set_learning_rate(state.optimizer, rate)
            update = shop.step(batch)
            diary.add(update)
            state.step, state.samples = state.step + 1, batch.samples
            watch.note(state.step, update, batch)
            if state.average is not None:
                state.average.update_parameters(state.generator)
            done = state.samples >= run.schedule.total_samples
            if done or watch.is_due(state.step):
                stopping = watch.agree(state.step)
            if done or stopping or is_due(state.step, options.log_every_steps):
                diary.log(state.step, state.samples, rate)
            is_best = False
            if len(shop.validation) and (done or is_due(state.step, options.evaluate_every_steps)):
                scores = evaluate_patches(
                    state.used, shop.validation, run.task, comm, shop.step.precision, scores, shop.peak
                )
                diary.validation(state.step, state.samples, scores)
                is_best = state.improves(scores["rmse"], run.schedule.patience_samples)
                state.generator.train()
            if done or stopping or is_best or is_due(state.step, options.checkpoint_every_steps):
                card = replace(shop.card, step=state.step, samples=state.samples)
                shop.checkpoints.save(state, card, is_best)
            if done or stopping:
                logger.info("%s at step %d", "finished" if done else "stopped by a signal", state.step)
                break
    return Outcome(state.step, finished=done)


def _set_up(run: Run, store: Store, comm: Comm) -> _Workshop:
    """Build everything the loop needs and bring it to the newest checkpoint. Collective."""
    options = run.train
    schedule = resolve(run.schedule, run.optimizer, options, comm.world_size)
    # The same kernels every time: a resumed run must repeat what an unbroken one computes.
    torch.backends.cudnn.deterministic = True
    torch.manual_seed(options.seed)
    generator, card = _new_generator(run, store, comm)
    step = build_step(generator, run.optimizer, run.loss, options, schedule, comm)
    # Wrapping empties an optimizer, so the state is loaded into the wrapped one.
    average = _average(generator, schedule, options.ema_samples)
    state = TrainState(generator, step.optimizer, step.scaler, average)
    patch_px = store.manifest.patch_px
    training, validation = (Patches.of(store.split(name), run.task, patch_px) for name in ("train", "validation"))
    loader = build_loader(training, options.seed, schedule, comm)
    checkpoints = Checkpoints(run.directory, comm, options.keep_checkpoints)
    checkpoints.restore(state, card)
    logger.info(
        "%s: %s, %s parameters, %d ranks (%s) on %s, %s",
        run.directory,
        card.family,
        f"{card.parameters:,}",
        comm.world_size,
        comm.backend,
        comm.device,
        step.precision,
    )
    logger.info(
        "%d training patches, %d held out; global batch %d = %d x %d ranks x %d; steps %d to %d",
        len(training),
        len(validation),
        schedule.global_batch_size,
        schedule.batch_size_per_rank,
        comm.world_size,
        schedule.accumulation_steps,
        state.step,
        state.step + schedule.steps_left(state.samples),
    )
    logger.info("%s", schedule.describe())
    return _Workshop(
        state, card, schedule, step, loader, training, validation, checkpoints, peak_of(store.manifest.units)
    )


def build_step(
    generator: Generator,
    optimizer: OptimizerOptions,
    loss: LossOptions,
    options: TrainOptions,
    schedule: Schedule,
    comm: Comm,
) -> ContentStep:
    """Return the update of a generator that is distributed to the ranks. Collective."""
    forward, distributed = comm.distribute(generator, build_optimizer(generator.parameters(), optimizer))
    precision = choose_precision(options.precision, comm.device)
    return ContentStep(
        torch.compile(forward) if options.compile else forward,
        distributed,
        GradScaler(comm.device.type, enabled=precision == "fp16"),
        CONTENT_LOSSES[loss.content],
        generator.task,
        comm.device,
        precision,
        options.augment,
        schedule.accumulation_steps,
        options.clip_norm,
        comm.local_gradients,
    )


def build_loader(patches: Patches, seed: int, schedule: Schedule, comm: Comm) -> Loader:
    """Return this rank's share of the stream, as much at a time as it gives to an update."""
    return Loader(
        patches,
        rank=comm.rank,
        world_size=comm.world_size,
        batch_size_per_rank=schedule.batch_size_per_rank * schedule.accumulation_steps,
        seed=seed,
        pin_memory=comm.device.type == "cuda",
    )


def _average(generator: Generator, schedule: Schedule, memory_samples: int | None) -> AveragedModel | None:
    """Return the running mean of the weights that forgets over so many samples, on any number of ranks."""
    if memory_samples is None:
        return None
    decay = math.exp(-schedule.global_batch_size / memory_samples)
    return AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(decay))


@contextmanager
def opened_store(run: Run, comm: Comm) -> Iterator[Store]:
    """Lend the run's store, of the right task and degradation, staged if the recipe says so, checksums compared.

    Collective. The checksums are shared out to the ranks; copying a shard compares its own.
    """
    check_fits(run, Store(run.store))
    hosts = comm.gather(socket.gethostname())
    here, before = hosts[comm.rank], hosts[: comm.rank]
    with staged(
        run.store,
        run.train.stage,
        share=before.count(here),
        shares=hosts.count(here),
        barrier=comm.barrier,
        shown=comm.rank == 0,
    ) as found:
        if not found.verified:
            found.store.verify(comm.rank, comm.world_size)
        yield found.store


def check_fits(run: Run, store: Store) -> None:
    """Raise ManifestError or DegradationError unless a store is what the recipe says."""
    manifest = store.manifest
    if manifest.task != run.task.name:
        raise ManifestError(
            f"is of task {manifest.task!r}, the recipe of {run.task.name!r}",
            where=store.path,
            cure="give the store of this task",
        )
    if run.degradation is not None and manifest.degradation != run.degradation:
        raise DegradationError(
            f"was made with {manifest.degradation!r}, the recipe says {run.degradation!r}",
            where=store.path,
            cure="prepare a store of its own for each degradation",
        )


def _new_generator(run: Run, store: Store, comm: Comm) -> tuple[Generator, Card]:
    statistics = store.manifest.statistics
    means = {layer.name: [m / NETWORK_UNIT for m in statistics[layer.name]["mean"]] for layer in run.task.inputs}
    generator = build_generator(run.model, run.task, store.manifest.patch_px, means).to(comm.device)
    card = Card(
        task=run.task.name,
        patch_px=store.manifest.patch_px,
        model=run.model.model_dump(exclude_none=True),
        degradation=store.manifest.degradation,
        level=store.manifest.level,
        parameters=count_parameters(generator),
        step=0,
        samples=0,
        stored_units=store.manifest.units,
    )
    return generator, card
