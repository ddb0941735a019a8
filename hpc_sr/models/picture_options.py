"""The options of the families that make single pictures finer, and of the autoencoder that looks at them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from hpc_sr.config import LessThan1
from hpc_sr.models.family_options import Blocks, Channels, FamilyOptions, Width
from hpc_sr.tasks import RGB, Task


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


class BasedOptions(PictureOptions):
    """What families have whose network finds a whole picture as published: nothing of the given one goes past it.

    `base: bicubic` adds what it finds to the bicubic enlargement instead.
    """

    base: Literal["none", "bicubic"] = "none"


class ColourOptions(BasedOptions):
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


class SRResNetOptions(BasedOptions):
    """SRResNet, the generator of SRGAN. PReLU has one slope, `shared` by all channels, or one for each `channel`."""

    scales: ClassVar[tuple[int, ...]] = (2, 4)

    family: Literal["srresnet"]
    width: Channels = 64
    blocks: Blocks = 16
    slopes: Literal["shared", "channel"] = "shared"
    norm_eps: Annotated[float, Field(ge=1e-12, le=1)] = 1e-5


class DenseOptions(BasedOptions):
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


class EFDNOptions(BasedOptions):
    """EFDN: four cells of feature distillation and spatial attention, of `width` channels."""

    family: Literal["efdn"]
    width: Annotated[int, Field(ge=4, le=4096, multiple_of=4)] = 48


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


class AutoencoderOptions(PictureOptions):
    """The autoencoder of EnlightenGAN, for task autoencode: VGG19's layers, `width` channels in its first stage."""

    scales: ClassVar[tuple[int, ...]] = (1,)

    family: Literal["autoencoder"]
    width: Channels = 64


class IMDNOptions(BasedOptions):
    """IMDN: blocks of information distillation of `width` channels, weighed by how much each varies."""

    family: Literal["imdn"]
    width: Width = 64
    blocks: Blocks = 6


class RFDNOptions(BasedOptions):
    """RFDN: blocks of residual feature distillation and spatial attention, of `width` channels."""

    family: Literal["rfdn"]
    width: Annotated[int, Field(ge=4, le=4096, multiple_of=2)] = 50
    blocks: Blocks = 4


class SwinIROptions(BasedOptions):
    """SwinIR: `stages` of `layers` of attention within windows of `window_px` small pixels, `heads` by `heads`.

    `enlargement` is `direct` in the light network, `staged` in the large one (width 180, stages 6).
    """

    family: Literal["swinir"]
    width: Channels = 60
    stages: Blocks = 4
    layers: Annotated[int, Field(ge=2, le=64, multiple_of=2)] = 6
    heads: Annotated[int, Field(ge=1, le=64)] = 6
    window_px: Annotated[int, Field(ge=2, le=64, multiple_of=2)] = 8
    mlp_ratio: Annotated[int, Field(ge=1, le=8)] = 2
    enlargement: Literal["direct", "staged"] = "direct"

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> SwinIROptions:
        if self.width % self.heads:
            raise ValueError(f"heads: {self.heads} does not divide width, {self.width}")
        return self


class DBPNOptions(BasedOptions):
    """D-DBPN: `stages` projections up and one less down, of `width` channels, after `features` first ones."""

    scales: ClassVar[tuple[int, ...]] = (2, 4)

    family: Literal["dbpn"]
    width: Channels = 64
    features: Channels = 256
    stages: Annotated[int, Field(ge=2, le=100)] = 7


class HSENetOptions(BasedOptions):
    """HSENet: `modules` of `width` channels that look for likenesses on two grids, the picture's and a coarser one."""

    family: Literal["hsenet"]
    width: Annotated[int, Field(ge=2, le=4096, multiple_of=2)] = 64
    modules: Blocks = 10


class TransENetOptions(BasedOptions):
    """TransENet: three stages of `blocks` of `width` channels, then a transformer over them and the enlarged map.

    Its encoders have `layers`; its tokens, `embedding` channels of 8 x 8 px, are those of a training patch.
    """

    family: Literal["transenet"]
    width: Annotated[int, Field(ge=4, le=4096, multiple_of=4)] = 64
    blocks: Blocks = 5
    embedding: Channels = 512
    layers: Blocks = 8


class DEGANOptions(BasedOptions):
    """DEGAN: `blocks` residual blocks of `width` channels, attention, then a U-Net of `unet_width` on the fine map.

    `transformer` lets all places of the U-Net's coarsest map see each other; `time_align` is a further layer for its
    time step. `noise: train` disturbs what the U-Net sees in training, `none` never. `dropout` is the transformer's;
    its masks come from torch's generator, which all ranks seed alike: the samples of two ranks share them, and what
    is dropped depends on the number of ranks.
    """

    scales: ClassVar[tuple[int, ...]] = (2, 4)

    family: Literal["degan"]
    width: Width = 128
    blocks: Blocks = 16
    unet_width: Width = 64
    transformer: bool = True
    time_align: bool = False
    noise: Literal["none", "train"] = "train"
    dropout: LessThan1 = 0.1


class MSFMOptions(BasedOptions):
    """The generator of MSFM-GAN: `width` channels in its finest stages, outer kernels of `outer_px` pixels."""

    family: Literal["msfm"]
    width: Channels = 64
    outer_px: Literal[5, 7, 9] = 9


class EEGANOptions(PictureOptions):
    """The generator of EEGAN: `blocks` ultra-dense blocks make a picture, the intermediate `base`, and `edge_blocks`
    more clean its edges."""

    scales: ClassVar[tuple[int, ...]] = (4,)
    intermediates: ClassVar[tuple[str, ...]] = ("base",)

    family: Literal["eegan"]
    width: Channels = 64
    blocks: Blocks = 6
    edge_blocks: Blocks = 3
