"""S2x and S6x (Zhang, Cavallaro, Jitsev, IGARSS 2020): one branch per resolution, fusion, trunk, self-attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from hpc_sr.models.blocks import ResidualBlock, SelfAttention, conv3, init_he_uniform
from hpc_sr.models.facts import Facts
from hpc_sr.models.generator import Outputs
from hpc_sr.models.multi_resolution import MultiResolution
from hpc_sr.models.options import S2xOptions
from hpc_sr.models.reach import Reach
from hpc_sr.tasks import Task


class S2x(MultiResolution):
    """S2x for task s2x (1,821,031 parameters at width 128), S6x for task s6x (1,825,827).

    The mean of each input band over the training set is subtracted before the branches; the skip adds the unshifted
    up-sampled bands. S6x pools keys and values by 2, because its patches have nine times the positions.
    """

    def __init__(self, task: Task, options: S2xOptions, facts: Facts):
        width = options.width
        reach = Reach(1 + 2 * options.blocks, 1, facts.patch_px if options.attention else None)
        super().__init__(task, options, facts, reach, width)
        self.branches = nn.ModuleList(conv3(len(layer.bands), width // 2) for layer in task.inputs)
        self.fuse = nn.Conv2d(width // 2 * len(task.inputs), width, 1)
        self.trunk = nn.Sequential(*(ResidualBlock(width, options.residual_scale) for _ in range(options.blocks)))
        kv_pool = 2 if task.scale == 6 else 1
        self.attention = SelfAttention(width, facts.patch_px, kv_pool) if options.attention else nn.Identity()
        self.head = conv3(width, len(task.bands))
        for layer in task.inputs:
            mean = self.units.to_network(
                torch.tensor(facts.means.get(layer.name, (0.0,) * len(layer.bands)), dtype=torch.float64)
            )
            self.register_buffer(f"mean_{layer.name}", mean.float().view(1, -1, 1, 1))
        init_he_uniform(self)

    def forward(self, *inputs_BCHW: torch.Tensor) -> Outputs:
        upsampled = self.upsample(inputs_BCHW)
        # Nothing is held longer than it is needed: in use these maps are what memory goes into.
        features = F.relu(self.fuse(self._branched(upsampled)), inplace=True)
        for block in self.trunk:
            features = block(features)
        return self.added(inputs_BCHW, upsampled, self.head(self.attention(features)))

    def _branched(self, upsampled: list[torch.Tensor]) -> torch.Tensor:
        """Return what the branches make of the inputs, one after the other along the channels."""
        parts = zip(self.branches, self.task.inputs, upsampled, strict=True)
        return torch.cat(
            [F.relu(branch(x - getattr(self, f"mean_{layer.name}")), inplace=True) for branch, layer, x in parts], 1
        )
