"""The `model` section of a recipe: a family by name, with the options of that family and no other.

Adding a family: a section here and in `ModelOptions`, its network in a file of its own, a line in `build.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from hpc_sr.config import Section, parse
from hpc_sr.tasks import RGB, Task

#: Channels of a trunk. Attention works on eighths and halves of them.
Width = Annotated[int, Field(ge=16, le=4096, multiple_of=16)]
Blocks = Annotated[int, Field(ge=1, le=1024)]
Channels = Annotated[int, Field(ge=1, le=4096)]
ResidualScale = Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]


class FamilyOptions(Section):
    """What every family answers for itself: which tasks it refuses, and what it is called in tables.

    `extras` are what its network gives beside the targets in training: an objective must compare them.
    """

    extras: ClassVar[tuple[str, ...]] = ()

    family: str

    def refuses(self, task: Task) -> str | None:
        """Return why the family cannot do a task, None if it can."""
        return None

    def label(self, task: Task) -> str:
        """Return what the network of a task is called in tables."""
        return self.family


class BaseOptions(FamilyOptions):
    """What every network has that adds to a base.

    `base` is what the network's output is added to: the target bands, `bilinear` or `bicubic` between their pixels,
    or `guided` by the finest bands. `back_project` makes the sum, degraded again, equal the measured bands.
    """

    base: Literal["bilinear", "bicubic", "guided"] = "bilinear"
    back_project: bool = False

    def refuses(self, task: Task) -> str | None:
        if task.of_images and (self.base == "guided" or self.back_project):
            asked = "base: guided" if self.base == "guided" else "back_project"
            return f"{asked} needs the degradation of a satellite's bands, task {task.name} has pictures"
        return None


class ResidualOptions(BaseOptions):
    """A trunk of `blocks` residual blocks of `width` channels, each added with weight `residual_scale`."""

    width: Width = 128
    blocks: Blocks = 6
    residual_scale: ResidualScale = 0.1


class S2xOptions(ResidualOptions):
    """The multi-branch network with self-attention; S6x for task s6x. `attention: false` takes the attention out."""

    family: Literal["s2x"]
    attention: bool = True

    def refuses(self, task: Task) -> str | None:
        if task.of_images:
            return f"family s2x is for products, task {task.name} takes dsen2"
        return super().refuses(task)

    def label(self, task: Task) -> str:
        """Return the task's name: the thesis calls the 60 m network of this family S6x."""
        return task.name


class DSen2Options(ResidualOptions):
    """The residual network on all inputs put one upon another."""

    family: Literal["dsen2"]


class DetailOptions(ResidualOptions):
    """The network on details alone, without biases, on the 20 m grid: its own base is `guided`, back-projected."""

    family: Literal["detail"]
    width: Width = 64
    blocks: Blocks = 6
    base: Literal["bilinear", "bicubic", "guided"] = "guided"
    back_project: bool = True

    def refuses(self, task: Task) -> str | None:
        if task.of_images:
            return f"family detail is for products, task {task.name} is of pictures"
        return super().refuses(task)


class PictureOptions(FamilyOptions):
    """What families answer that make single pictures finer; `scales` are those that they were published for."""

    scales: ClassVar[tuple[int, ...]] = (2, 3, 4)

    def refuses(self, task: Task) -> str | None:
        if not task.of_images or len(task.inputs) > 1:
            return f"family {self.family} is for single pictures, task {task.name} is not"
        if task.scale not in self.scales:
            known = ", ".join(f"x{scale}" for scale in self.scales)
            return f"family {self.family} is for {known}, task {task.name} is x{task.scale}"
        return super().refuses(task)


class ColourOptions(PictureOptions):
    """`colours`: a network of all bands as they are, of Y, Cb and Cr, or of brightness alone, as first published.

    With `y`, Cb and Cr are made finer by bicubic interpolation.
    """

    colours: Literal["rgb", "ycbcr", "y"] = "rgb"

    def refuses(self, task: Task) -> str | None:
        if self.colours != "rgb" and len(task.bands) != len(RGB):
            return (
                f"colours: {self.colours} needs red, green and blue alone, task {task.name} has {len(task.bands)} bands"
            )
        return super().refuses(task)


class SRCNNOptions(ColourOptions):
    """Convolutions of 9, `middle_px` and 5 pixels on the bicubic enlargement: SRCNN 9-1-5, 9-3-5, 9-5-5."""

    family: Literal["srcnn"]
    width: Channels = 64
    hidden: Channels = 32
    middle_px: Literal[1, 3, 5] = 1


class FSRCNNOptions(ColourOptions):
    """FSRCNN(`width`, `narrow`, `maps`), on the small picture up to its last layer, a transposed convolution.

    `crop_px` is what that layer cuts from its left and upper side: 4 as published, which puts a small pixel's centre
    on the first of its large ones; 3 on the second, the middle one at x3. `padding` is what lies beyond the picture.
    """

    family: Literal["fsrcnn"]
    width: Channels = 56
    narrow: Channels = 12
    maps: Blocks = 4
    crop_px: Literal[3, 4] = 4
    padding: Literal["zeros", "replicate"] = "zeros"

    def refuses(self, task: Task) -> str | None:
        if self.crop_px == 3 and task.scale == 2:
            return f"crop_px: 3 leaves too few pixels at x2, task {task.name}"
        return super().refuses(task)


class SRResNetOptions(PictureOptions):
    """SRResNet, the generator of SRGAN. PReLU has one slope, `shared` by all channels, or one for each `channel`."""

    scales: ClassVar[tuple[int, ...]] = (2, 4)

    family: Literal["srresnet"]
    width: Channels = 64
    blocks: Blocks = 16
    slopes: Literal["shared", "channel"] = "shared"
    norm_eps: Annotated[float, Field(ge=1e-12, le=1)] = 1e-5


class DenseOptions(PictureOptions):
    """What networks of dense blocks have: `blocks` of three, whose convolutions add `growth` channels each."""

    scales: ClassVar[tuple[int, ...]] = (4,)

    width: Channels = 64
    growth: Channels = 32
    blocks: Blocks = 23


class RRDBOptions(DenseOptions):
    """RRDBNet, the generator of ESRGAN: blocks of three dense blocks, whose convolutions add `growth` channels."""

    family: Literal["rrdb"]


class EnlightenOptions(DenseOptions):
    """The generator of EnlightenGAN: RRDBNet, and in training a picture of half its size too, as the extra `x2`.

    Its layers begin at the trunk's features, or, with `shared_up`, at the first enlargement of them.
    """

    extras: ClassVar[tuple[str, ...]] = ("x2",)

    family: Literal["enlighten"]
    shared_up: bool = False


class EFDNOptions(PictureOptions):
    """EFDN: four cells of feature distillation and spatial attention, of `width` channels."""

    family: Literal["efdn"]
    width: Annotated[int, Field(ge=4, le=4096, multiple_of=4)] = 48


class AutoencoderOptions(PictureOptions):
    """The autoencoder of EnlightenGAN, for task autoencode: VGG19's layers, `width` channels in its first stage."""

    scales: ClassVar[tuple[int, ...]] = (1,)

    family: Literal["autoencoder"]
    width: Channels = 64


class RRSGANOptions(FamilyOptions):
    """RRSGAN, and RRSNet by another objective: x4 with a reference, its features shifted in `groups` by themselves.

    `blocks` residual blocks of `width` channels on the picture and on each of three levels; `gradient_width` channels
    more of features of gradients.
    """

    family: Literal["rrsgan"]
    width: Annotated[int, Field(ge=2, le=4096, multiple_of=2)] = 64
    blocks: Blocks = 16
    gradient_width: Channels = 16
    groups: Annotated[int, Field(ge=1, le=64)] = 8

    @model_validator(mode="after")
    def _groups_divide_the_features(self) -> RRSGANOptions:
        features = self.width + self.gradient_width
        if features % self.groups:
            raise ValueError(f"groups: {self.groups} does not divide width + gradient_width, {features}")
        return self

    def refuses(self, task: Task) -> str | None:
        if not task.of_images or len(task.inputs) != 2:
            return f"family rrsgan needs a reference beside the picture, task {task.name} has none"
        if task.scale != 4:
            return f"family rrsgan is for x4, task {task.name} is x{task.scale}"
        return super().refuses(task)


#: The options of one family, told by `family`.
ModelOptions = Annotated[
    S2xOptions
    | DSen2Options
    | DetailOptions
    | SRCNNOptions
    | FSRCNNOptions
    | SRResNetOptions
    | RRDBOptions
    | EnlightenOptions
    | EFDNOptions
    | RRSGANOptions
    | AutoencoderOptions,
    Field(discriminator="family"),
]


class _Named(Section):
    model: ModelOptions


def parse_model(options: dict[str, Any], where: str | Path) -> ModelOptions:
    """Return the options of a family from plain values. Raises RecipeError naming the key."""
    return parse(_Named, {"model": options}, where).model
