"""A small network, batches of noise for it, and steps on it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from made_networks import narrow
from torch.amp import GradScaler
from torch.utils._python_dispatch import TorchDispatchMode

from hpc_sr.data.loader import Batch
from hpc_sr.losses.content import l1
from hpc_sr.models.build import build_generator
from hpc_sr.models.facts import Facts
from hpc_sr.models.generator import Generator
from hpc_sr.tasks import S2X, Task
from hpc_sr.train.objective import Content
from hpc_sr.train.optimizers import build_optimizer
from hpc_sr.train.options import OptimizerOptions
from hpc_sr.train.player import Player, Update

PATCH_PX = 8


def small_generator(seed: int = 0, task: Task = S2X, patch_px: int = PATCH_PX) -> Generator:
    """Return a network as training begins with: attention, where there is some, counts for nothing yet."""
    torch.manual_seed(seed)
    return build_generator(narrow(), task, Facts(patch_px))


def noise_batch(size: int, seed: int = 0, task: Task = S2X, patch_px: int = PATCH_PX) -> Batch:
    noise = torch.Generator().manual_seed(seed)
    layers = {
        layer.name: torch.randint(0, 8000, (size, *task.shape(layer, patch_px)), generator=noise, dtype=torch.int16)
        for layer in task.layers
    }
    codes = torch.randint(0, 8, (size,), generator=noise)
    return Batch(layers, torch.arange(size), codes, torch.arange(size), torch.arange(size), samples=size)


def make_content(
    optimizer: str = "adam",
    precision: str = "fp32",
    parts: int = 1,
    generator: Generator | None = None,
    weights: Mapping[str, float] | None = None,
    **of_player: object,
) -> Content:
    """Return the content objective on a small generator of its own, with any options of Player."""
    generator = generator or small_generator()
    made = build_optimizer(generator.parameters(), OptimizerOptions(name=optimizer, base_lr=1e-3))
    scaler = GradScaler("cpu", enabled=precision == "fp16", init_scale=1024.0)
    player = Player("generator", generator, generator, made, scaler, **of_player)
    return Content(player, l1, weights or {}, generator.task, precision, parts, "rmse")


def step(content: Content, batch: Batch) -> Update:
    """Take the step that a session takes on a batch of stored numbers."""
    return content(batch.in_network_units(content.player.network.units, augment=True))


class Waits(TorchDispatchMode):
    """Collects the operations for which the host would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket.__name__ in ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "item"):
            self.found.append(str(function))
        return function(*args, **(kwargs or {}))
