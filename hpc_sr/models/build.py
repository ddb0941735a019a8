"""The networks of the families: the one place that knows them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from hpc_sr.errors import RecipeError
from hpc_sr.models.autoencoder import Autoencoder
from hpc_sr.models.band import BandNet
from hpc_sr.models.critic_options import (
    CriticOptions,
    EEGANCriticOptions,
    LightS2DOptions,
    MSFMCriticOptions,
    PatchGANOptions,
    S2DOptions,
    SRGANCriticOptions,
    VGGCriticOptions,
)
from hpc_sr.models.dbpn import DBPN
from hpc_sr.models.degan import DEGAN
from hpc_sr.models.detail import DetailNet
from hpc_sr.models.discriminators import eegan, light_s2d, msfm, patchgan, s2d, srgan, vgg
from hpc_sr.models.dsen2 import DSen2
from hpc_sr.models.eegan import EEGAN
from hpc_sr.models.efdn import EFDN
from hpc_sr.models.enlighten import Enlighten
from hpc_sr.models.facts import Facts
from hpc_sr.models.fsrcnn import FSRCNN
from hpc_sr.models.generator import Generator
from hpc_sr.models.hsenet import HSENet
from hpc_sr.models.imdn import IMDN
from hpc_sr.models.msfm import MSFM
from hpc_sr.models.options import BandOptions, DetailOptions, DSen2Options, ModelOptions, S2xOptions
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
from hpc_sr.models.rfdn import RFDN
from hpc_sr.models.rrdb import RRDBNet
from hpc_sr.models.rrsgan import RRSGAN
from hpc_sr.models.s2x import S2x
from hpc_sr.models.srcnn import SRCNN
from hpc_sr.models.srresnet import SRResNet
from hpc_sr.models.swinir import SwinIR
from hpc_sr.models.transenet import TransENet
from hpc_sr.tasks import Task

GENERATORS: dict[type, Callable[[Task, Any, Facts], Generator]] = {
    S2xOptions: S2x,
    DSen2Options: DSen2,
    DetailOptions: DetailNet,
    BandOptions: BandNet,
    SRCNNOptions: SRCNN,
    FSRCNNOptions: FSRCNN,
    SRResNetOptions: SRResNet,
    RRDBOptions: RRDBNet,
    EnlightenOptions: Enlighten,
    EFDNOptions: EFDN,
    RRSGANOptions: RRSGAN,
    AutoencoderOptions: Autoencoder,
    IMDNOptions: IMDN,
    RFDNOptions: RFDN,
    SwinIROptions: SwinIR,
    DBPNOptions: DBPN,
    HSENetOptions: HSENet,
    TransENetOptions: TransENet,
    DEGANOptions: DEGAN,
    MSFMOptions: MSFM,
    EEGANOptions: EEGAN,
}
CRITICS: dict[type, Callable[[Task, Any, Facts], nn.Module]] = {
    S2DOptions: s2d,
    LightS2DOptions: light_s2d,
    PatchGANOptions: patchgan,
    VGGCriticOptions: vgg,
    SRGANCriticOptions: srgan,
    MSFMCriticOptions: msfm,
    EEGANCriticOptions: eegan,
}


def build_generator(options: ModelOptions, task: Task, facts: Facts) -> Generator:
    """Return the generator that the options describe, freshly initialised from torch's global seed.

    Raises RecipeError if the family cannot do the task.
    """
    refusal = options.refuses(task)
    if refusal:
        raise RecipeError(refusal, where="model", cure="choose another family, other options, or another task")
    return GENERATORS[type(options)](task, options, facts)


def build_critic(options: CriticOptions, task: Task, facts: Facts, where: str = "objective.critic") -> nn.Module:
    """Return the critic of a task's targets that the options describe, freshly initialised from torch's global seed.

    Raises RecipeError if it cannot see patches of the store's size.
    """
    refusal = options.refuses(facts.patch_px)
    if refusal:
        raise RecipeError(refusal, where=where, cure="choose another critic, or prepare larger patches")
    return CRITICS[type(options)](task, options, facts)


def count_parameters(module: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
