"""Whether an image looks like the ground that its networks were trained on; a warning if it does not."""

from __future__ import annotations

import shlex
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from hpc_sr.comm.communicator import Comm
from hpc_sr.infer.images import Image
from hpc_sr.infer.plan import Plan
from hpc_sr.infer.sharpener import Sharpener
from hpc_sr.logs import logger
from hpc_sr.models.facts import Looks
from hpc_sr.sentinel2.looks import blocks_of, looks_of_patches
from hpc_sr.tasks import REFLECTANCE_ONE, Task

#: Blocks of a window that are looked at, for each target, and findings that a warning tells.
_BLOCKS, _TOLD = 4, 3

#: Levels and what is unexplained by band: of one block, or of all that were looked at.
_Seen = dict[tuple[str, str], np.ndarray]


@dataclass(frozen=True)
class Finding:
    """How far a band is beyond what its network has seen, in margins, and that in words."""

    beyond: float
    told: str


class Likeness:
    """Looks at the windows of a plan as they are predicted, and tells of models that have seen nothing like them."""

    def __init__(self, plan: Plan):
        self._plan, self._seen = plan, defaultdict[str, list[_Seen]](list)

    def look(self, model: Sharpener, layers: dict[str, np.ndarray]) -> None:
        """Take the looks of a window's layers, if the model's training ground is known. From any thread."""
        if model.facts and model.facts.looks:
            self._seen[model.where].append(looks_of(model.task, layers, model.facts.patch_px))

    def tell(self, comm: Comm) -> None:
        """Warn of each model that the image is unlike to. Collective."""
        everyone = comm.gather(dict(self._seen))
        for model in self._plan.models:
            seen = [window for own in everyone for window in own.get(model.where, ())]
            if comm.rank == 0 and seen and model.facts and model.facts.looks:
                mean_block = {key: float(np.concatenate([window[key] for window in seen]).mean()) for key in seen[0]}
                if found := findings(model.facts.looks, mean_block):
                    more = f"; and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
                    logger.warning(
                        "%s is unlike the ground that %s was trained on: %s%s. What it does there is not known; "
                        "without training: %s",
                        self._plan.image.name,
                        model.where,
                        "; ".join(finding.told for finding in found[:_TOLD]),
                        more,
                        _untrained(self._plan.image),
                    )


def looks_of(task: Task, layers: dict[str, np.ndarray], patch_px: int) -> _Seen:
    """Return the looks of some blocks of a window's layers, as large as patches, where coarse bands were measured."""
    guides, seen = task.inputs[0], _Seen()
    for target in task.targets:
        fine, coarse = layers[guides.name], layers[target.coarse.name]
        height, width = coarse.shape[1:]
        smooth = fine.reshape(len(fine), height, target.scale, width, target.scale).mean((2, 4))
        blocks = blocks_of(np.concatenate((smooth, coarse)), patch_px)
        blocks = blocks[:: -(-len(blocks) // _BLOCKS)]
        levels, unexplained = looks_of_patches(blocks[:, : len(fine)], blocks[:, len(fine) :])
        seen |= {("levels", band): own for band, own in zip((*guides.bands, *target.bands), levels.T, strict=True)}
        seen |= {("unexplained", band): own for band, own in zip(target.bands, unexplained.T, strict=True)}
    return seen


def findings(looks: Looks, mean_block: dict[tuple[str, str], float]) -> list[Finding]:
    """Return in which bands the mean block is unlike the training ground, the worst first.

    A band that guides explain better than ever is no reason for a warning.
    """
    found = []
    for kind, spans in (("levels", looks.levels), ("unexplained", looks.unexplained)):
        for band, span in spans.items():
            value = mean_block.get((kind, band))
            if value is None or (kind == "unexplained" and value < span.low):
                continue
            if span.beyond(value) > 1:
                told, low, high = (_in_words(kind, number) for number in (value, span.low, span.high))
                what = (
                    f"reflectance of {band} is {told}"
                    if kind == "levels"
                    else f"{told} of {band}'s detail is in no 10 m band"
                )
                found.append(Finding(span.beyond(value), f"{what} (trained on {low} to {high})"))
    return sorted(found, key=lambda finding: -finding.beyond)


def _in_words(kind: str, value: float) -> str:
    return f"{2**value / REFLECTANCE_ONE:.2g}" if kind == "levels" else f"{2**value:.0%}"


def _untrained(image: Image) -> str:
    """Return how an image is sharpened without a network."""
    files = shlex.join(map(str, image.sources))
    return f"`hpc-sr infer {'' if image.level else '--stack '}{files} --method guided`" if files else 'method="guided"'
