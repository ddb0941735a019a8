"""The generator of EnlightenGAN: RRDBNet, whose features learn from a picture of half the size too.

Source: Gong et al. 2021, https://doi.org/10.3390/rs13061104.
"""

from __future__ import annotations

import torch
from torch import nn

from hpc_sr.models.blocks import conv3
from hpc_sr.models.facts import Facts
from hpc_sr.models.filters import nearest
from hpc_sr.models.generator import Outputs
from hpc_sr.models.picture_options import EnlightenOptions
from hpc_sr.models.rrdb import SLOPE, RRDBNet, init_small
from hpc_sr.tasks import Task


class Enlighten(RRDBNet):
    """23 blocks have 16,773,574 parameters, 16,736,646 with `shared_up`. All but `enlighten`'s are RRDBNet's by name.

    In training the extra `x2` is the picture on pixels half as large, made of the trunk's features, which are enlarged
    by `enlighten`'s first convolution, or with `shared_up` by RRDBNet's own. In evaluation nothing of it is computed.
    """

    def __init__(self, task: Task, options: EnlightenOptions, facts: Facts):
        super().__init__(task, options, facts)
        width, own = options.width, 1 if options.shared_up else 2
        hidden = [part for _ in range(own) for part in (conv3(width, width), nn.LeakyReLU(SLOPE))]
        self.enlighten = nn.Sequential(*hidden, conv3(width, self.bands))
        self.shared_up = options.shared_up
        init_small(self.enlighten)

    def forward(self, *inputs_BCHW: torch.Tensor) -> Outputs:
        if not self.training:
            return super().forward(*inputs_BCHW)
        (coarse_BChw,) = inputs_BCHW
        coarse_BChw = coarse_BChw.contiguous(memory_format=torch.channels_last)
        features = self.features(coarse_BChw)
        doubled = self.doubled(features)
        half = self.enlighten(doubled if self.shared_up else nearest(features, 2))
        whole = self.added(coarse_BChw, self.quadrupled(doubled), self.scale)
        return Outputs((whole,), {"x2": self.added(coarse_BChw, half, self.scale // 2)})
