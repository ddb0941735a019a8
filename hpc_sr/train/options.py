"""The `objective`, `optimizer`, `schedule` and `train` sections of a recipe.

Lengths of training are in samples of all ranks together, so a recipe means the same on 1 and on 64 GPUs; what is
merely periodic (logs, validation, checkpoints) is in optimizer steps.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from hpc_sr.comm.options import CommOptions
from hpc_sr.config import (
    Count,
    CountFrom0,
    LessThan1,
    NotNegative,
    PathText,
    Pixels,
    Positive,
    Proportion,
    Section,
    Seed,
)
from hpc_sr.models.critic_options import CriticOptions

#: Samples that a device takes at a time, or updates that go before one: beyond it is no memory, or no end.
Portion = Annotated[int, Field(ge=1, le=10**6)]
#: Scores of a validation that can choose a checkpoint, or the newest whatever its scores.
Precision = Literal["auto", "fp32", "bf16", "fp16"]
BestBy = Literal["rmse", "sre", "sam", "ergas", "psnr", "ssim", "newest"]
LayerName = Annotated[str, Field(pattern="^(relu|conv)[1-5]_[1-4]$")]
ContentLossName = Literal["l1", "mse", "charbonnier"]
AdversarialLossName = Literal[
    "vanilla", "saturating", "lsgan", "lsgan_charbonnier", "wgan", "wgan_gp", "hinge", "rsgan", "ragan"
]


class OptimizerOptions(Section):
    """The optimizer. `base_lr` is the learning rate at the base batch size; the schedule scales it.

    `weight_decay` is decoupled in `adamw`, a gradient's penalty elsewhere; `momentum` (Nesterov) is for `sgd`.
    """

    name: Literal["adam", "adamw", "nadam", "sgd"] = "adam"
    base_lr: Positive = 1e-4
    betas: tuple[LessThan1, LessThan1] = (0.9, 0.999)
    eps: Annotated[float, Field(ge=1e-30, le=1)] = 1e-8
    weight_decay: NotNegative = 0.0
    momentum: LessThan1 = 0.9


class ScheduleOptions(Section):
    """The learning rate over the run, a function of the samples seen by all ranks together.

    `lr_scaling` multiplies base_lr by a power of k = global batch / `base_batch_size` (default: the batch of one
    rank, so k is the number of ranks; with train.global_batch_size it must be given): `none` 1, `linear` k (Goyal et
    al. 2017), `sqrt` its root (Adam: Malladi et al. 2022), `modified_linear` k, halved every n / k steps (the
    thesis): it goes with decay `step`, where step_every_samples is n base batches.

    The rate rises linearly over `warmup_samples`, then stays (`constant`), falls to min_lr (`cosine`), is multiplied
    by `step_factor` every `step_every_samples` (`step`), or whenever validation has not improved for
    `patience_samples` (`plateau`). With `exponential` what it is above min_lr is multiplied by `step_factor` over each
    `step_every_samples`, evenly. `min_lr` is the floor of all of them.
    """

    total_samples: Count
    lr_scaling: Literal["none", "linear", "modified_linear", "sqrt"] = "linear"
    base_batch_size: Count | None = None
    warmup_samples: CountFrom0 = 0
    decay: Literal["constant", "step", "exponential", "cosine", "plateau"] = "constant"
    step_every_samples: Count | None = None
    step_factor: Proportion = 0.5
    patience_samples: Count | None = None
    min_lr: NotNegative = 0.0

    @model_validator(mode="after")
    def _decay_has_its_numbers(self) -> ScheduleOptions:
        for decays, name in ((("step", "exponential"), "step_every_samples"), (("plateau",), "patience_samples")):
            if (self.decay in decays) != (getattr(self, name) is not None):
                raise ValueError(f"decay={' or '.join(decays)} and {name} go together")
        if self.lr_scaling == "modified_linear" and (self.decay, self.step_factor) != ("step", 0.5):
            raise ValueError("lr_scaling=modified_linear halves the rate: it takes decay=step and step_factor=0.5")
        if self.warmup_samples >= self.total_samples:
            raise ValueError("warmup_samples must be less than total_samples")
        return self


class TrainOptions(Section):
    """Batches, numbers, seed and how often things happen. `runs` is the folder that run directories lie in.

    An update sees batch_size_per_rank x accumulation_steps x ranks samples. With `global_batch_size` it sees that
    many on any number of ranks: batch_size_per_rank is then the most that one rank takes at a time, and the steps of
    accumulation follow. `precision: auto` is bf16 where the hardware multiplies it, fp16 with loss scaling on older
    GPUs with tensor cores (V100, T4), else fp32. `compile` compiles the network with torch.compile. `deterministic`
    allows only algorithms that repeat to the bit, some of them slower. `stage` is a folder of the node (/dev/shm,
    $TMPDIR) that shards are copied to before training, or `device`: training patches lie in the device's memory, where
    batches are gathered, unless they would take over half of what is free. `clip_norm` bounds the norm of each
    network's gradient. `ema_samples` averages the weights over about so many samples: what is validated
    and saved for use is the average. `useless_references` is the share of samples whose reference is made black, or
    turned by 180 degrees, so that a network learns to do without. More than `max_skipped_steps` updates in a row with
    gradients that are not finite end the run.
    """

    batch_size_per_rank: Portion = 128
    accumulation_steps: Portion = 1
    global_batch_size: Count | None = None
    precision: Precision = "auto"
    compile: bool = False
    deterministic: bool = True
    augment: bool = True
    useless_references: Annotated[float, Field(ge=0, le=1)] = 0.0
    clip_norm: Positive | None = None
    ema_samples: Count | None = None
    max_skipped_steps: CountFrom0 = 10
    seed: Seed = 0
    runs: PathText = "runs"
    stage: PathText | None = None
    log_every_steps: Count = 50
    evaluate_every_steps: Count = 1000
    checkpoint_every_steps: Count = 1000
    keep_checkpoints: Count = 2

    @model_validator(mode="after")
    def _one_word_on_accumulation(self) -> TrainOptions:
        if self.global_batch_size is not None and self.accumulation_steps != 1:
            raise ValueError("with global_batch_size, accumulation_steps follows from the ranks: leave it out")
        return self


class PerceptualOptions(Section):
    """How a trained network sees three bands: `weight` x the mean `distance` of its features, summed over `layers`.

    Either `vgg` is a file of published weights, which are not shipped: of VGG16 or VGG19 in torchvision's layout, .pth
    or .safetensors, as deep as the `layers` relu1_1 ... relu5_4 (relu3_1 if not given); conv5_4 is what goes into
    relu5_4. Or `autoencoder` is a run of family autoencoder, finished; its layers are relu1_2, relu2_2, relu3_4 and
    conv5_4 (all if not given), each divided by its deviation over that run's training set. `bands` are what the network
    takes for red, green and blue, or one band for all three; if not given, what pictures show: B04, B03, B02, or of the
    20 m bands B11, B8A, B05. It was trained on photographs, so what it makes of infrared is a guess. `white` is the
    stored number that is 1 to it; if not given, 3000 of reflectance x 10 000, or an image's full range. What is
    brighter is not clipped.
    """

    vgg: PathText | None = None
    autoencoder: PathText | None = None
    layers: Annotated[tuple[LayerName, ...], Field(min_length=1)] | None = None
    bands: tuple[str, str, str] | tuple[str] | None = None
    white: Positive | None = None
    distance: ContentLossName = "mse"
    weight: Positive = 1e-3

    @model_validator(mode="after")
    def _one_network(self) -> PerceptualOptions:
        if (self.vgg is None) == (self.autoencoder is None):
            raise ValueError("give either vgg, a file of weights, or autoencoder, a run")
        return self


class ObjectiveSection(Section):
    """What every way of training has; its keys are told by `ContentOptions`.

    `compares` are the extras of a network that a way of training has a use for, beside the targets.
    """

    compares: ClassVar[tuple[str, ...]] = ()

    method: str
    content: ContentLossName = "l1"
    weights: dict[str, NotNegative] = {}
    gradients: Positive | None = None
    perceptual: PerceptualOptions | None = None
    seen: str | None = None
    content_samples: CountFrom0 = 0
    best_by: BestBy = "rmse"
    start_from: str | None = None

    def refuses(self, comm: CommOptions, train: TrainOptions) -> str | None:
        """Return what this way of training does not go with, and why; None if all is well."""
        return None


class ContentOptions(ObjectiveSection):
    """A generator alone: `content` is the mean distance of its targets from the reference.

    `weights` counts the targets of a task by name, each once where nothing is said; 0 leaves one out. `gradients` adds
    that many times the mean squared difference of their gradient maps, `perceptual` how differently a trained network
    sees the two. The first `content_samples` of a run go without `perceptual`, and without a critic. These two look at
    the intermediate image `seen` of a network that has one, in place of its target.

    `best_by` is the score of a validation that chooses which checkpoint is used afterwards, or `newest`. `start_from`
    is a run whose weights a new run begins with: same task, model, level and degradation, of family band same model.
    """

    method: Literal["content"] = "content"

    @model_validator(mode="after")
    def _what_is_seen_is_looked_at(self) -> ContentOptions:
        if self.seen is not None and self.perceptual is None:
            raise ValueError("objective.seen is what perceptual and critics look at: give one, or leave it out")
        return self


class CriticisedOptions(ObjectiveSection):
    """What every way of training with critics has; its keys are told by `AdversarialOptions`."""

    loss: AdversarialLossName
    weight: Positive = 1e-3
    warmup_samples: CountFrom0 = 0
    best_by: BestBy = "newest"
    critic: CriticOptions
    gradient_critic: CriticOptions | None = None
    gradient_weight: Positive = 1e-3
    critic_optimizer: OptimizerOptions = OptimizerOptions()
    critic_steps: Portion = 1
    penalty: NotNegative | None = None
    clip_weights: Positive | None = None

    @property
    def penalty_weight(self) -> float:
        """What the gradient penalty counts, 0 without one."""
        given = self.penalty
        return given if given is not None else 10.0 if self.loss == "wgan_gp" else 0.0

    @property
    def weight_bound(self) -> float | None:
        """What the critic's weights are clipped to, if they are."""
        given = self.clip_weights
        return given if given is not None else 0.01 if self.loss == "wgan" else None

    @model_validator(mode="after")
    def _penalty_is_of_samples(self) -> CriticisedOptions:
        for name, critic in (("critic", self.critic), ("gradient_critic", self.gradient_critic)):
            if critic is not None and self.penalty_weight and critic.norm == "batch":
                raise ValueError(
                    "a gradient penalty is of each sample, and BatchNorm makes scores depend on the others: "
                    f"objective.{name}.norm none or instance, or objective.penalty 0"
                )
        return self

    def refuses(self, comm: CommOptions, train: TrainOptions) -> str | None:
        if comm.reduction == "adasum":
            return "comm.reduction=adasum updates a network inside its backward pass, so two cannot take turns"
        if comm.static_graph:
            return "comm.static_graph wants each network called once a step, a critic is called several times"
        if train.compile and self.penalty_weight:
            return "train.compile has no second derivatives, which the gradient penalty needs"
        return None


class AdversarialOptions(CriticisedOptions):
    """A generator against a critic, which learns to tell estimates from references: content + `weight` x adversarial.

    The adversarial part comes in linearly over the `warmup_samples` that follow `content_samples`. An update makes
    `critic_steps` updates of the critic, each on its part of the batch, and one of the generator on all of it. The
    critic has an optimizer of its own; its learning rate follows the schedule in proportion to its base_lr.
    `gradient_critic` is another one that sees gradient maps; its part counts `gradient_weight`.

    `penalty` weighs the gradient penalty (10 for `wgan_gp`, else 0 if not given). `clip_weights` bounds the critic's
    weights (0.01 for `wgan`, else none if not given). `ragan` compares with means over the batches of all ranks; of an
    accumulated batch each portion has its own. Scores get worse while images get sharper: `best_by` is `newest`.
    """

    method: Literal["adversarial"]


class EnlightenTrainingOptions(CriticisedOptions):
    """As `adversarial`, on four crops of each patch that overlap: what EnlightenGAN adds to it.

    The crops are `crop_px` target pixels a side, four sevenths of a patch if not given, one in each of its corners. A
    batch is its patches' crops; the critic sees crops. `inconsistency` x the mean squared difference of two crops where
    they overlap is added for each of the four pairs of neighbours. Of a network that gives the extra `x2`, as family
    `enlighten` does, `half_weight` counts its content and perceptual loss against the reference reduced by bicubic.
    """

    compares: ClassVar[tuple[str, ...]] = ("x2",)

    method: Literal["enlighten"]
    crop_px: Pixels | None = None
    inconsistency: NotNegative = 0.25
    half_weight: Positive = 0.25


def method(objective: Any) -> Any:
    """Return which way of training is meant: content where nothing is said."""
    if isinstance(objective, dict):
        return objective.get("method", "content")
    return getattr(objective, "method", "content")


#: The options of one way of training, told by `method`.
ObjectiveOptions = Annotated[
    Annotated[ContentOptions, Tag("content")]
    | Annotated[AdversarialOptions, Tag("adversarial")]
    | Annotated[EnlightenTrainingOptions, Tag("enlighten")],
    Discriminator(method),
]
