"""The `model` section of a recipe: a family by name, with the options of that family and no other.

Adding a family: a section here (of pictures: in picture_options.py) and in `ModelOptions`, its network in a file of its
own, a line in `build.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from hpc_sr.config import Section, parse
from hpc_sr.models.family_options import Blocks, FamilyOptions, ResidualScale, Width
from hpc_sr.models.picture_options import (
    AutoencoderOptions,
    DBPNOptions,
    DEGANOptions,
    EEGANOptions,
    EFDNOptions,
    EnlightenOptions,
    FSRCNNOptions,
    HSENetOptions,
    IMDNOptions,
    MSFMOptions,
    RFDNOptions,
    RRDBOptions,
    RRSGANOptions,
    SRCNNOptions,
    SRResNetOptions,
    SwinIROptions,
    TransENetOptions,
)
from hpc_sr.tasks import Task


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


class BandOptions(ResidualOptions):
    """The network of one band at a time, whichever it is: its base is `guided`, which tells how bands hang together."""

    of_any_bands: ClassVar[bool] = True

    family: Literal["band"]
    width: Width = 48
    base: Literal["guided"] = "guided"
    back_project: bool = True

    def refuses(self, task: Task) -> str | None:
        if task.of_images:
            return f"family band is for products, task {task.name} is of pictures"
        return super().refuses(task)


#: The options of one family, told by `family`.
ModelOptions = Annotated[
    S2xOptions
    | DSen2Options
    | DetailOptions
    | BandOptions
    | SRCNNOptions
    | FSRCNNOptions
    | SRResNetOptions
    | RRDBOptions
    | EnlightenOptions
    | EFDNOptions
    | RRSGANOptions
    | AutoencoderOptions
    | IMDNOptions
    | RFDNOptions
    | SwinIROptions
    | DBPNOptions
    | HSENetOptions
    | TransENetOptions
    | DEGANOptions
    | MSFMOptions
    | EEGANOptions,
    Field(discriminator="family"),
]


class _Named(Section):
    model: ModelOptions


def parse_model(options: dict[str, Any], where: str | Path) -> ModelOptions:
    """Return the options of a family from plain values. Raises RecipeError naming the key."""
    return parse(_Named, {"model": options}, where).model
