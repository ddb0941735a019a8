"""A recipe: the sections of all rooms composed, checked against each other, and its derived numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import model_validator

from data_prep.options import PrepareOptions
from hpc_sr.config import Section, load_yaml, override, parse
from hpc_sr.errors import HpcSrError
from hpc_sr.losses.options import LossOptions
from hpc_sr.models.options import ModelOptions
from hpc_sr.shards.schema import read_manifest
from hpc_sr.tasks import TASKS
from hpc_sr.train.options import OptimizerOptions, ScheduleOptions, TrainOptions
from hpc_sr.train.schedule import resolve


class CommOptions(Section):
    """How ranks talk. `auto` follows the launcher, so a recipe need not change with it."""

    backend: Literal["auto", "serial", "horovod", "ddp"] = "auto"


class Recipe(Section):
    """One setting, from products to a trained model. `store` is the folder of the patch store."""

    name: str
    task: Literal["s2x", "s6x"]
    store: str
    prepare: PrepareOptions | None = None
    model: ModelOptions
    loss: LossOptions = LossOptions()
    optimizer: OptimizerOptions = OptimizerOptions()
    schedule: ScheduleOptions
    train: TrainOptions = TrainOptions()
    comm: CommOptions = CommOptions()

    @model_validator(mode="after")
    def _sections_agree(self) -> Recipe:
        unit = TASKS[self.task].alignment_px
        if self.prepare is not None and (self.prepare.patch_px % unit or self.prepare.stride_px % unit):
            raise ValueError(
                f"prepare.patch_px and prepare.stride_px must be multiples of {unit} for task {self.task}"
            )
        if (self.schedule.decay == "halving") != (self.schedule.halve_every_samples is not None):
            raise ValueError("schedule.decay=halving and schedule.halve_every_samples go together")
        if self.schedule.warmup_samples >= self.schedule.total_samples:
            raise ValueError("schedule.warmup_samples must be less than schedule.total_samples")
        if "/" in self.name or not self.name.strip("."):
            raise ValueError("name must be a plain folder name")
        return self

    @property
    def run_directory(self) -> Path:
        """Where a run of this recipe lives."""
        return Path(self.train.runs) / self.name


def load_recipe(path: str | Path, assignments: list[str] | None = None) -> Recipe:
    """Return the recipe in a YAML file with `key=value` overrides. Raises RecipeError naming key, value and cure."""
    return parse(Recipe, override(load_yaml(path), assignments or []), path)


def as_yaml(recipe: Recipe) -> str:
    """Return the resolved recipe, every default written out, as YAML that loads to the same recipe."""
    return yaml.safe_dump(recipe.model_dump(mode="json", exclude_none=True), sort_keys=False)


def derived(recipe: Recipe, world_size: int) -> dict[str, Any]:
    """Return the numbers that follow from a recipe on so many ranks; those of the store if it is prepared already."""
    size = recipe.train.batch_size_per_rank * world_size
    schedule = resolve(recipe.schedule, recipe.optimizer, global_batch_size=size, world_size=world_size)
    numbers: dict[str, Any] = {
        "world_size": world_size,
        "global_batch_size": size,
        "total_steps": schedule.total_steps,
        "warmup_steps": schedule.warmup_steps,
        "peak_learning_rate": schedule.peak_lr,
        "final_learning_rate": schedule.learning_rate(schedule.total_steps - 1),
        "run_directory": str(recipe.run_directory),
    }
    try:
        manifest = read_manifest(recipe.store)
    except HpcSrError:
        return {**numbers, "store": f"{recipe.store} (not prepared yet)"}
    rows = manifest.rows("train")
    return {**numbers, "training_patches": rows, "epochs": round(schedule.total_steps * size / rows, 2)}
