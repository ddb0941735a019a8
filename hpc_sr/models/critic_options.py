"""The `critic` sections of a recipe: a critic by name, with the options of that critic and no other.

Adding a critic: a section here and in `CriticOptions`, its layers in `discriminators.py`, a line in `build.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hpc_sr.config import Section
from hpc_sr.models.family_options import Width


class CriticSection(Section):
    """What every critic has: `width` channels in its first stage, a norm between convolutions, and spectral norm.

    `batch` takes its statistics from the batches of all ranks. `spectral_norm` bounds the gain of every layer (Miyato
    et al. 2018).
    """

    family: str
    width: Width = 64
    norm: Literal["none", "batch", "instance"] = "none"
    spectral_norm: bool = False

    @property
    def least_px(self) -> int:
        """The smallest patch that leaves something to score. An instance needs more than a pixel to be normalised."""
        return 16 if self.norm == "instance" else 8

    def refuses(self, patch_px: int) -> str | None:
        """Return why the critic cannot see patches of this size, None if it can."""
        if patch_px < self.least_px:
            return f"critic {self.family} needs patches of {self.least_px} px or more, the store has {patch_px} px"
        return None


class S2DOptions(CriticSection):
    """Three stages of two convolutions, about as large as S2x: scores of parts of a patch."""

    family: Literal["s2d"]


class LightS2DOptions(CriticSection):
    """Half the convolutions of `s2d` and a third of its parameters, for where that wins too soon."""

    family: Literal["s2d_light"]


class PatchGANOptions(CriticSection):
    """PatchGAN of 70 pixels (Isola et al. 2017), published with `norm: batch`."""

    family: Literal["patchgan"]
    norm: Literal["none", "batch", "instance"] = "batch"

    @property
    def least_px(self) -> int:
        """The smallest patch that leaves something to score."""
        return 24


class VGGCriticOptions(CriticSection):
    """The critic of ESRGAN (Wang et al. 2018), published with `norm: batch`: one score for a patch.

    `stages` halve the patch, `hidden` features decide. Convolutions under a norm have no bias; `bias: first` leaves
    it to the first one alone, also without a norm, as RRSGAN's critics are.
    """

    family: Literal["vgg"]
    norm: Literal["none", "batch", "instance"] = "batch"
    bias: Literal["all", "first"] = "all"
    stages: Annotated[int, Field(ge=2, le=8)] = 5
    hidden: Annotated[int, Field(ge=1, le=4096)] = 100

    @property
    def least_px(self) -> int:
        """The smallest patch that leaves something to score. An instance needs more than a pixel to be normalised."""
        return 2 ** (self.stages + (self.norm == "instance"))


class SRGANCriticOptions(CriticSection):
    """The critic of SRGAN and DEGAN (Ledig et al. 2017), published with `norm: batch`: one score for a patch.

    It averages its last map to 6 x 6, whatever the patch, `hidden` features decide. For pictures of 0..1.
    """

    family: Literal["srgan"]
    norm: Literal["none", "batch", "instance"] = "batch"
    hidden: Annotated[int, Field(ge=1, le=4096)] = 1024

    @property
    def least_px(self) -> int:
        """The smallest patch that leaves something to score. An instance needs more than a pixel to be normalised."""
        return 17 if self.norm == "instance" else 16


class MSFMCriticOptions(CriticSection):
    """The critic of MSFM-GAN (Zhou et al. 2019), published with `norm: batch`: a score for each 8 x 8 pixels."""

    family: Literal["msfm"]
    norm: Literal["none", "batch", "instance"] = "batch"


class EEGANCriticOptions(CriticSection):
    """The critic of EEGAN (Jiang et al. 2019), published without a norm: one score for a patch.

    It averages its last map to `deciding_px` x `deciding_px`, whatever the patch, `hidden` features decide. Published
    are patches of 96 px and all of their map, `deciding_px: 12`. For pictures of 0..1.
    """

    family: Literal["eegan"]
    hidden: Annotated[int, Field(ge=1, le=4096)] = 1024
    deciding_px: Annotated[int, Field(ge=1, le=64)] = 4


#: The options of one critic, told by `family`.
CriticOptions = Annotated[
    S2DOptions
    | LightS2DOptions
    | PatchGANOptions
    | VGGCriticOptions
    | SRGANCriticOptions
    | MSFMCriticOptions
    | EEGANCriticOptions,
    Field(discriminator="family"),
]
