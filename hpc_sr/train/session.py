"""All that training steps need, put together, and the steps themselves. The trainer and the benchmarks share it."""

from __future__ import annotations

from collections import abc
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.amp import GradScaler

from hpc_sr.comm.communicator import Comm
from hpc_sr.data.dataset import Patches
from hpc_sr.data.loader import Batch, Loader
from hpc_sr.data.on_device import held_on
from hpc_sr.errors import RecipeError
from hpc_sr.losses.adversarial import adversarial_loss
from hpc_sr.losses.content import CONTENT_LOSSES
from hpc_sr.models.build import build_critic
from hpc_sr.models.critic_options import CriticOptions
from hpc_sr.models.facts import Facts
from hpc_sr.models.generator import Generator
from hpc_sr.models.gradients import gradient_map
from hpc_sr.models.precision import choose_precision
from hpc_sr.train.adversarial import Adversarial, Judge
from hpc_sr.train.diary import Diary
from hpc_sr.train.enlighten import ContentOfCrops, Enlightened, crops_of
from hpc_sr.train.objective import Content, Objective
from hpc_sr.train.optimizers import build_optimizer, set_learning_rate
from hpc_sr.train.options import (
    AdversarialOptions,
    CriticisedOptions,
    EnlightenTrainingOptions,
    ObjectiveOptions,
    OptimizerOptions,
    TrainOptions,
)
from hpc_sr.train.perceptual import open_perceptual
from hpc_sr.train.player import Player, Update
from hpc_sr.train.references import with_useless
from hpc_sr.train.schedule import Schedule
from hpc_sr.train.state import Clock, TrainState, averaged
from hpc_sr.train.watch import Watch


@dataclass(frozen=True)
class Session:
    """A generator in training on one set of patches: what is learned, how fast, from what, and by whom."""

    comm: Comm
    objective: Objective
    schedule: Schedule
    state: TrainState
    loader: Loader
    precision: str
    augment: bool
    useless_references: float = 0.0

    @property
    def rate(self) -> float:
        """The learning rate of the next update."""
        clock = self.state.clock
        return self.schedule.learning_rate(clock.samples, clock.reductions)

    def steps(self, batches: Iterable[Batch], diary: Diary, watch: Watch) -> abc.Generator[Update, None, None]:
        """Take a step for each batch, on the device already, note it, and yield what became of it."""
        units = self.state.generator.units
        for batch in diary.waited_for(batches):
            for player in self.objective.players:
                set_learning_rate(player.optimizer, self.rate * player.pace)
            seen = batch.in_network_units(units, self.augment)
            update = self.objective(with_useless(seen, self.useless_references) if self.useless_references else seen)
            diary.add(update, self.rate)
            self.state.advance(batch.samples)
            watch.note(self.state.clock.step, update, batch)
            yield update


def open_session(
    generator: Generator,
    patches: Patches,
    objective: ObjectiveOptions,
    optimizer: OptimizerOptions,
    train: TrainOptions,
    schedule: Schedule,
    comm: Comm,
) -> Session:
    """Return the session of a generator that is then distributed to the ranks, at its first step. Collective."""
    precision = choose_precision(train.precision, comm.device)
    crops = crops_of(objective, generator) if isinstance(objective, EnlightenTrainingOptions) else None
    least_px = crops.half_px if crops is not None else generator.facts.patch_px
    player = _player("generator", comm.synchronised(generator), optimizer, train, precision, comm)
    content = Content(
        player,
        CONTENT_LOSSES[objective.content],
        _weights(objective, generator),
        generator.task,
        precision,
        schedule.accumulation_steps,
        None if objective.best_by == "newest" else objective.best_by,
        open_perceptual(seen, generator, precision, comm.device, least_px) if (seen := objective.perceptual) else None,
        objective.gradients,
        objective.content_samples,
        generator.noisy,
        objective.seen,
    )
    aim: Objective = content
    if isinstance(objective, EnlightenTrainingOptions) and crops is not None:
        of_crops = ContentOfCrops.of(content, crops, objective)
        facts = replace(generator.facts, patch_px=crops.crop_px)
        aim = Enlightened(_against_a_critic(of_crops, facts, objective, optimizer, train, schedule, comm), crops)
    elif isinstance(objective, AdversarialOptions):
        aim = _against_a_critic(content, generator.facts, objective, optimizer, train, schedule, comm)
    average = averaged(generator, schedule, train.ema_samples)
    state = TrainState(aim.players, average, Clock(best_by=aim.best_by))
    loader = Loader(
        held_on(comm.device, patches) if train.stage == "device" else patches,
        rank=comm.rank,
        world_size=comm.world_size,
        batch_size_per_rank=schedule.batch_size_per_rank * schedule.accumulation_steps,
        seed=train.seed,
        pin_memory=comm.device.type == "cuda",
    )
    return Session(comm, aim, schedule, state, loader, precision, train.augment, train.useless_references)


def _player(
    name: str, network: nn.Module, optimizer: OptimizerOptions, train: TrainOptions, precision: str, comm: Comm
) -> Player:
    """Return a network that is then distributed to the ranks. Collective."""
    # Wrapping empties an optimizer: what is restored is loaded into the wrapped one.
    forward, distributed = comm.distribute(network, build_optimizer(network.parameters(), optimizer))
    return Player(
        name,
        network,
        torch.compile(forward) if train.compile else forward,
        distributed,
        GradScaler(comm.device.type, enabled=precision == "fp16"),
        train.clip_norm,
        comm.local_gradients,
    )


def _against_a_critic(
    content: Content,
    facts: Facts,
    objective: CriticisedOptions,
    optimizer: OptimizerOptions,
    train: TrainOptions,
    schedule: Schedule,
    comm: Comm,
) -> Adversarial:
    """Return the objective with new critics of patches like the facts', distributed as a generator is. Collective."""
    if schedule.batch_size_per_rank % objective.critic_steps:
        raise RecipeError(
            f"{objective.critic_steps} steps cannot share {schedule.batch_size_per_rank} samples, which a rank takes "
            "at a time, in equal parts",
            where="objective.critic_steps",
            cure="give a number that divides them, or another train.batch_size_per_rank",
        )

    def in_training(name: str, options: CriticOptions) -> Player:
        network = build_critic(options, content.task, facts, f"objective.{name}").to(comm.device)
        network = comm.synchronised(network)
        player = _player(name, network, objective.critic_optimizer, train, content.precision, comm)
        return replace(player, pace=objective.critic_optimizer.base_lr / optimizer.base_lr)

    judges = [Judge(in_training("critic", objective.critic), "adversarial", objective.weight)]
    if objective.gradient_critic is not None:
        player = in_training("gradient_critic", objective.gradient_critic)
        judges.append(Judge(player, "gradient_adversarial", objective.gradient_weight, gradient_map))
    return Adversarial(
        content,
        tuple(judges),
        adversarial_loss(objective.loss, comm.mean_with_gradient),
        objective.warmup_samples,
        objective.critic_steps,
        objective.penalty_weight,
        objective.weight_bound,
    )


def _weights(objective: ObjectiveOptions, generator: Generator) -> dict[str, float]:
    names = [target.name for target in generator.task.targets]
    unknown = sorted(objective.weights.keys() - set(names))
    if unknown:
        raise RecipeError(
            f"{unknown[0]!r} is no target of task {generator.task.name}",
            where="objective.weights",
            cure=f"its targets are {', '.join(names)}",
        )
    compared = any(objective.weights.get(name, 1.0) for name in names) or objective.gradients or objective.perceptual
    if not compared:
        raise RecipeError(
            "weights of 0 leave nothing to compare estimates by",
            where="objective.weights",
            cure="weigh a target, or give objective.gradients or objective.perceptual",
        )
    return dict(objective.weights)
