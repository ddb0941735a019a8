"""The training loop: steps, validation, checkpoints, and the end by schedule or signal."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from hpc_sr.comm.communicator import Comm
from hpc_sr.data.dataset import Patches
from hpc_sr.data.loader import arriving_on
from hpc_sr.errors import DegradationError, ManifestError
from hpc_sr.evaluate.protocols.patches import evaluate_patches
from hpc_sr.logs import logger, track
from hpc_sr.models.build import build_generator, count_parameters
from hpc_sr.models.generator import Generator
from hpc_sr.models.options import ModelOptions
from hpc_sr.shards.reader import Store
from hpc_sr.shards.staging import staged
from hpc_sr.tasks import Task
from hpc_sr.train.checkpoint import Checkpoints
from hpc_sr.train.diary import Diary
from hpc_sr.train.facts import facts_of
from hpc_sr.train.options import ObjectiveOptions, OptimizerOptions, ScheduleOptions, TrainOptions
from hpc_sr.train.pictures import validation_pictures
from hpc_sr.train.profile import profiled
from hpc_sr.train.repeatable import repeatable
from hpc_sr.train.schedule import is_due, resolve
from hpc_sr.train.session import Session, open_session
from hpc_sr.train.settle import settle
from hpc_sr.train.stop import StopFlag
from hpc_sr.train.watch import Watch
from hpc_sr.weights.card import TRAINED_ON, Card, check_same_model
from hpc_sr.weights.folder import list_checkpoints
from hpc_sr.weights.trained import load_trained


@dataclass(frozen=True)
class Run:
    """One training run: where it lives, what it learns from, and the sections of its recipe.

    `profile` records a few steps into its folder `profile`.
    """

    directory: Path
    task: Task
    store: Path
    degradation: str | None
    model: ModelOptions
    objective: ObjectiveOptions
    optimizer: OptimizerOptions
    schedule: ScheduleOptions
    train: TrainOptions
    profile: bool = False


@dataclass(frozen=True)
class Outcome:
    """How far a run has come: `finished`, or stopped by a signal after a checkpoint."""

    step: int
    finished: bool


@dataclass(frozen=True)
class _Workshop:
    """A session with what only the trainer has: the run's card, checkpoints, and patches that are held out."""

    session: Session
    card: Card
    training: Patches
    validation: Patches
    checkpoints: Checkpoints


def train(run: Run, comm: Comm, stop: StopFlag, begin: Callable[[int], None] = lambda step: None) -> Outcome:
    """Train, or go on training, until the schedule ends or `stop` is requested on a rank; return how far it came.

    Collective. Writes metrics.jsonl, TensorBoard events and checkpoints into the run directory. `begin` is called
    with the step that the run stands at, when all is checked and there is something to do.
    Raises StoreError, ChecksumError, DegradationError, ArchitectureError before the first step; TrainingError if
    gradients stay not finite, or an operation cannot be repeated to the bit; OutputError if a checkpoint cannot be
    written.
    """
    with repeatable(run.train.deterministic), opened_store(run, comm) as store:
        return _run_loop(run, comm, _set_up(run, store, comm), stop, begin)


def _run_loop(run: Run, comm: Comm, shop: _Workshop, stop: StopFlag, begin: Callable[[int], None]) -> Outcome:
    options, session = run.train, shop.session
    state, schedule = session.state, session.schedule
    clock = state.clock
    steps_left = schedule.steps_left(clock.samples)
    if not steps_left:
        logger.info("nothing to do: %s samples seen at step %d", f"{clock.samples:,}", clock.step)
        return Outcome(clock.step, finished=True)
    begin(clock.step)
    done = stopping = False
    scores = None
    with (
        stop.kept(),
        Diary(run.directory, comm, schedule, resume_step=clock.step) as diary,
        closing(session.loader.batches(start=clock.samples)) as batches,
    ):
        watch = Watch(run.directory, comm, stop, shop.training, options.max_skipped_steps)
        state.generator.train()
        on_device = track(arriving_on(comm.device, batches), "training", total=steps_left, shown=comm.rank == 0)
        updates = session.steps(on_device, diary, watch)
        for _ in profiled(updates, run.directory / "profile", comm) if run.profile else updates:
            done = clock.samples >= run.schedule.total_samples
            if done or watch.is_due(clock.step):
                stopping = watch.agree(clock.step)
            if done or stopping or is_due(clock.step, options.log_every_steps):
                diary.log(clock.step, clock.samples)
            is_best = False
            if len(shop.validation) and (done or is_due(clock.step, options.evaluate_every_steps)):
                scores = evaluate_patches(state.used, shop.validation, comm, session.precision, scores)
                if diary.shows_pictures:
                    diary.pictures(clock.step, validation_pictures(state.used, shop.validation, session.precision))
                diary.validation(clock.step, clock.samples, scores)
                is_best = clock.improves(scores, run.schedule.patience_samples)
                state.generator.train()
            if done:
                settle(state.used, shop.training, comm)
            if done or stopping or is_best or is_due(clock.step, options.checkpoint_every_steps):
                shop.checkpoints.save(state, replace(shop.card, step=clock.step, samples=clock.samples))
            if done or stopping:
                logger.info("%s at step %d", "finished" if done else "stopped by a signal", clock.step)
                break
    return Outcome(clock.step, finished=done)


def _set_up(run: Run, store: Store, comm: Comm) -> _Workshop:
    """Build everything the loop needs and bring it to the newest checkpoint. Collective."""
    options, manifest = run.train, store.manifest
    schedule = resolve(run.schedule, run.optimizer, options, comm.world_size)
    torch.manual_seed(options.seed)
    generator, card = _new_generator(run, store)
    training, validation = (
        Patches.of(store.split(name), run.task, manifest.patch_px) for name in ("train", "validation")
    )
    session = open_session(generator.to(comm.device), training, run.objective, run.optimizer, options, schedule, comm)
    checkpoints = Checkpoints(run.directory, comm, options.keep_checkpoints)
    checkpoints.restore(session.state, card)
    clock = session.state.clock
    logger.info(
        "%s: %s, %s parameters, %d ranks (%s) on %s, %s",
        run.directory,
        card.family,
        f"{card.parameters:,}",
        comm.world_size,
        comm.backend,
        comm.device,
        session.precision,
    )
    logger.info(
        "%d training patches, %d held out%s; global batch %d = %d x %d ranks x %d; steps %d to %d",
        len(training),
        len(validation),
        " in blocks of the same tiles (easier than unseen ground)" if manifest.blocks("validation") else "",
        schedule.global_batch_size,
        schedule.batch_size_per_rank,
        comm.world_size,
        schedule.accumulation_steps,
        clock.step,
        clock.step + schedule.steps_left(clock.samples),
    )
    logger.info("%s", schedule.describe())
    if not options.deterministic:
        logger.warning("train.deterministic=false: on a GPU, resumed runs repeat unbroken ones only up to rounding")
    return _Workshop(session, card, training, validation, checkpoints)


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
        None if run.train.stage == "device" else run.train.stage,
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
    if not run.task.takes(manifest.task):
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


def _new_generator(run: Run, store: Store) -> tuple[Generator, Card]:
    """Return the generator at its first step, with the weights of another run if it starts from one, and its card."""
    manifest, facts = store.manifest, facts_of(store, run.task)
    generator = build_generator(run.model, run.task, facts)
    parameters = count_parameters(generator)
    card = Card(run.task.name, run.model, facts, manifest.degradation, manifest.level, parameters, step=0, samples=0)
    if run.objective.start_from is not None and not list_checkpoints(run.directory):
        start = load_trained(run.objective.start_from)
        cure = "start from a run of this model, task, level and degradation, or leave objective.start_from out"
        told = () if run.model.of_any_bands else TRAINED_ON
        check_same_model(start.card, card, Path(run.objective.start_from), cure, told)
        generator.load_state_dict(start.generator.state_dict())
        logger.info("starting from %s, step %d", start.where, start.card.step)
    return generator, card
