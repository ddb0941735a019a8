"""A recipe: the sections of all rooms composed, checked against each other, and its derived numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import model_validator

from data_prep.options import ImageOptions, PrepareOptions
from hpc_sr.comm.options import CommOptions
from hpc_sr.config import PathText, RunName, Section, load_yaml, override, parse
from hpc_sr.errors import HpcSrError, RecipeError
from hpc_sr.models.options import ModelOptions
from hpc_sr.shards.schema import read_manifest
from hpc_sr.tasks import IMAGE_TASKS, TASKS
from hpc_sr.train.options import ContentOptions, ObjectiveOptions, OptimizerOptions, ScheduleOptions, TrainOptions
from hpc_sr.train.schedule import resolve

TaskName = Literal[
    "s2x",
    "s6x",
    "s26x",
    "pre6x",
    "sisr_x2",
    "sisr_x3",
    "sisr_x4",
    "sisr_x2_rgbn",
    "sisr_x3_rgbn",
    "sisr_x4_rgbn",
    "refsr_x4",
    "refsr_x4_rgbn",
    "autoencode",
]


_NULL = {"type": "null"}


class Recipe(Section):
    """One setting, from products or images to a trained model. `store` is the folder of the patch store.

    A recipe that only prepares needs no `model` and no `schedule`.
    """

    name: RunName
    task: TaskName
    store: PathText
    prepare: PrepareOptions | None = None
    images: ImageOptions | None = None
    model: ModelOptions | None = None
    objective: ObjectiveOptions = ContentOptions()
    optimizer: OptimizerOptions = OptimizerOptions()
    schedule: ScheduleOptions | None = None
    train: TrainOptions = TrainOptions()
    comm: CommOptions = CommOptions()

    @model_validator(mode="after")
    def _sections_agree(self) -> Recipe:
        of_images = TASKS[self.task] in IMAGE_TASKS
        if self.preparation is not None and not TASKS[self.task].has_stores:
            raise ValueError(f"task {self.task} takes the store of another task of its pictures: name that as store")
        if self.prepare is not None and self.images is not None:
            raise ValueError("give either prepare or images")
        if self.prepare is not None and of_images:
            raise ValueError(f"task {self.task} takes images, prepare makes pairs of products for s2x, s6x and s26x")
        if self.images is not None and not of_images:
            raise ValueError(f"task {self.task} takes prepare, images are for sisr_* and refsr_*")
        refusal = self.model.refuses(TASKS[self.task]) if self.model is not None else None
        if refusal:
            raise ValueError(refusal)
        unit, section = TASKS[self.task].alignment_px, self.preparation
        if section is not None and (section.patch_px % unit or section.stride_px % unit):
            name = "prepare" if self.images is None else "images"
            raise ValueError(f"{name}.patch_px and {name}.stride_px must be multiples of {unit} for task {self.task}")
        fixed, schedule = self.train.global_batch_size is not None, self.schedule
        if fixed and schedule is not None and schedule.lr_scaling != "none" and schedule.base_batch_size is None:
            # The batch of one rank, its default, is then how much memory it may take, and means nothing.
            raise ValueError("train.global_batch_size needs schedule.base_batch_size, for which optimizer.base_lr is")
        if schedule is not None and schedule.decay == "plateau" and self.objective.best_by == "newest":
            raise ValueError("schedule.decay=plateau follows the score objective.best_by: name one")
        missed = sorted(set(self.model.extras) - set(self.objective.compares)) if self.model is not None else []
        if self.model is not None and missed:
            raise ValueError(
                f"family {self.model.family} gives {missed[0]} in training too, which objective.method="
                f"{self.objective.method} has no use for: what it is made of would not learn; take method enlighten"
            )
        if self.model is not None and self.objective.seen not in (None, *self.model.intermediates):
            has = " and ".join(self.model.intermediates) or "none"
            raise ValueError(
                f"objective.seen: family {self.model.family} has no intermediate {self.objective.seen!r}; it has {has}"
            )
        if self.train.useless_references and all(layer.name != "ref" for layer in TASKS[self.task].inputs):
            raise ValueError(f"train.useless_references: task {self.task} has no reference, refsr_x4 has one")
        refusal = self.objective.refuses(self.comm, self.train)
        if refusal:
            raise ValueError(f"objective.method={self.objective.method}: {refusal}")
        if self.comm.reduction == "adasum":
            self._check_adasum()
        return self

    def _check_adasum(self) -> None:
        """Adasum adds up what each rank's optimizer did, so there are no common gradients to look at before it."""
        train, scaling = self.train, self.schedule.lr_scaling if self.schedule else "none"
        for wrong, found in (
            (scaling != "none", f"schedule.lr_scaling={scaling}"),
            (train.accumulation_steps != 1, f"train.accumulation_steps={train.accumulation_steps}"),
            (train.global_batch_size is not None, f"train.global_batch_size={train.global_batch_size}"),
            (train.clip_norm is not None, f"train.clip_norm={train.clip_norm}"),
            (train.precision == "fp16", "train.precision=fp16"),
            (self.optimizer.name == "nadam", "optimizer.name=nadam"),
        ):
            if wrong:
                raise ValueError(f"comm.reduction=adasum does not go with {found}")

    @property
    def preparation(self) -> PrepareOptions | ImageOptions | None:
        """How the store is made, from products or from images."""
        return self.images if self.images is not None else self.prepare

    def to_train(self) -> tuple[ModelOptions, ScheduleOptions]:
        """Return what training cannot do without. Raises RecipeError naming the section that is not there."""
        if self.model is None:
            raise RecipeError("has no `model` section", where=self.name, cure="add one to train")
        if self.schedule is None:
            raise RecipeError("has no `schedule` section", where=self.name, cure="add one to train")
        return self.model, self.schedule

    @property
    def run_directory(self) -> Path:
        """Where a run of this recipe lives."""
        return Path(self.train.runs) / self.name


def load_recipe(path: str | Path, assignments: list[str] | None = None) -> Recipe:
    """Return the recipe in a YAML file with `key=value` overrides. Raises RecipeError naming key, value and cure."""
    content = override(load_yaml(path), assignments or [])
    if "loss" in content:
        raise RecipeError(
            f"the section loss = {content['loss']!r} has another name now",
            where=path,
            cure="write `objective: {method: content, content: l1}` instead; an override is objective.content=l1",
        )
    return parse(Recipe, content, path)


def load_run_recipe(run_directory: Path) -> Recipe:
    """Return the recipe that a run wrote down, of older runs too. Raises RecipeError."""
    path = run_directory / "recipe.yaml"
    content = load_yaml(path)
    if "loss" in content:  # what runs called their objective before there were others
        content["objective"] = content.pop("loss")
    return parse(Recipe, content, path)


def as_yaml(recipe: Recipe) -> str:
    """Return the resolved recipe, every default written out, as YAML that loads to the same recipe."""
    return yaml.safe_dump(recipe.model_dump(mode="json", exclude_none=True), sort_keys=False)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a recipe's file, for editors: keys, types, bounds, and what sections mean.

    A file may lie over its `base`, which has the rest: no key of a section is required, and null takes one away. What
    keys say together, and which are absent, only `load_recipe` tells.
    """
    found = Recipe.model_json_schema()
    required = found.pop("required")
    for section in (found, *found["$defs"].values()):
        section.pop("required", None)
        section["properties"] = {key: _or_null(value) for key, value in section["properties"].items()}
    found["properties"]["base"] = {"type": "string", "description": "The recipe that this one lies over."}
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **found, "anyOf": [{"required": ["base"]}, {"required": required}]}


def _or_null(value: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a key's value, or of null. The sections that a key chooses from are merely choices here."""
    told: dict[str, Any] = {word: value.pop(word) for word in ("default", "description") if word in value}
    return {"anyOf": [*(choice for choice in _choices(value) if choice != _NULL), _NULL], **told}


def _choices(value: dict[str, Any]) -> list[dict[str, Any]]:
    nested = value.get("anyOf", value.get("oneOf"))
    if nested is None:
        return [{word: told for word, told in value.items() if word != "title"}]
    return [choice for part in nested for choice in _choices(part)]


def derived(recipe: Recipe, world_size: int) -> dict[str, Any]:
    """Return the numbers that follow from a recipe on so many ranks; those of the store if it is prepared already."""
    numbers: dict[str, Any] = {}
    if recipe.schedule is not None:
        schedule = resolve(recipe.schedule, recipe.optimizer, recipe.train, world_size)
        numbers = {
            "world_size": world_size,
            "batch_size_per_rank": schedule.batch_size_per_rank,
            "accumulation_steps": schedule.accumulation_steps,
            "global_batch_size": schedule.global_batch_size,
            "total_steps": schedule.steps_left(),
            "warmup_steps": -(-recipe.schedule.warmup_samples // schedule.global_batch_size),
            "peak_learning_rate": schedule.peak_lr,
            "final_learning_rate": schedule.learning_rate((schedule.steps_left() - 1) * schedule.global_batch_size),
            "run_directory": str(recipe.run_directory),
        }
    try:
        manifest = read_manifest(recipe.store)
    except HpcSrError:
        return {**numbers, "store": f"{recipe.store} (not prepared yet)"}
    rows = manifest.rows("train")
    epochs = {"epochs": round(recipe.schedule.total_samples / rows, 2)} if recipe.schedule else {}
    return {**numbers, "training_patches": rows, **epochs}
