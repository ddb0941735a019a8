"""Published weights of the networks for pictures, made generators of ours: by the names and shapes of their tensors.

What a file's shapes tell of the network is read off them; what they do not tell is asked for. Values are not looked
at, but for being numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hpc_sr.errors import ArchitectureError, NotFiniteError, OutputError, RecipeError
from hpc_sr.models.build import build_generator, count_parameters
from hpc_sr.models.facts import Facts
from hpc_sr.models.generator import Generator
from hpc_sr.models.options import parse_model
from hpc_sr.tasks import RGB, Units, task_by_name
from hpc_sr.weights.card import Card
from hpc_sr.weights.folder import write_folder
from hpc_sr.weights.names import OUR_NAMES
from hpc_sr.weights.tensors import load_weights, read_tensors

Tensors = dict[str, torch.Tensor]

#: What pictures were in published training sets: 8 bits, made smaller by MATLAB's imresize.
_UNITS, _DEGRADATION = "8 bit", "bicubic"
#: Side of a training patch on the small grid. No file tells it; the publications' are of 24 to 64.
_PATCH_PX = 48
#: Where files of training scripts keep the tensors, the averaged ones first.
_WITHIN = ("params_ema", "params", "state_dict", "model_state_dict", "model")


@dataclass(frozen=True)
class _Shapes:
    """The shapes of a network's tensors under our names. `where` is the file."""

    family: str
    tensors: Tensors
    where: Path

    def size(self, name: str, axis: int) -> int:
        """Return a tensor's size along an axis. Raises ArchitectureError if there is none."""
        found = self.tensors.get(name)
        if found is None or found.ndim <= axis:
            told = "is missing" if found is None else f"has the shape {tuple(found.shape)}"
            names = ", ".join(sorted(self.tensors)[:3])
            raise ArchitectureError(
                f"is no {self.family}: its {name} {told}; it holds {names} and more",
                where=self.where,
                cure=f"give the family that it is of: {', '.join(READERS)}",
            )
        return found.shape[axis]

    def count(self, list_name: str) -> int:
        """Return how many parts a list has: `blocks.0 ...` to `blocks.15 ...` are 16."""
        found = (re.match(rf"{list_name}\.(\d+)\.", name) for name in self.tensors)
        return max((int(match[1]) + 1 for match in found if match), default=0)


@dataclass(frozen=True)
class _Reader:
    """How a family's options are read off shapes, and the scale; None if shapes do not tell it."""

    options: Callable[[_Shapes], dict[str, Any]]
    scale: Callable[[_Shapes], int | None] = lambda shapes: None


def _srcnn(shapes: _Shapes) -> dict[str, Any]:
    width, hidden = shapes.size("first.weight", 0), shapes.size("middle.weight", 0)
    return {"width": width, "hidden": hidden, "middle_px": shapes.size("middle.weight", 3), **_colours(shapes, "first")}


def _fsrcnn(shapes: _Shapes) -> dict[str, Any]:
    width, narrow = shapes.size("features.0.weight", 0), shapes.size("shrink.0.weight", 0)
    return {"width": width, "narrow": narrow, "maps": shapes.count("maps"), **_colours(shapes, "features.0")}


def _srresnet(shapes: _Shapes) -> dict[str, Any]:
    slopes = "channel" if shapes.size("first_slope.weight", 0) > 1 else "shared"
    return {"width": shapes.size("first.weight", 0), "blocks": shapes.count("blocks"), "slopes": slopes}


def _rrdb(shapes: _Shapes) -> dict[str, Any]:
    growth = shapes.size("body.0.rdb1.conv1.weight", 0)
    return {"width": shapes.size("conv_first.weight", 0), "growth": growth, "blocks": shapes.count("body")}


def _efdn(shapes: _Shapes) -> dict[str, Any]:
    return {"width": shapes.size("head.weight", 0)}


def _swinir(shapes: _Shapes) -> dict[str, Any]:
    first = "layers.0.residual_group.blocks"
    table, width = f"{first}.0.attn.relative_position_bias_table", shapes.size("conv_first.weight", 0)
    return {
        "width": width,
        "stages": shapes.count("layers"),
        "layers": shapes.count(first),
        "heads": shapes.size(table, 1),
        "window_px": (math.isqrt(shapes.size(table, 0)) + 1) // 2,
        "mlp_ratio": shapes.size(f"{first}.0.mlp.fc1.weight", 0) // width,
        "enlargement": "staged" if "conv_last.weight" in shapes.tensors else "direct",
    }


def _swinir_scale(shapes: _Shapes) -> int:
    # Direct: one convolution to all pixels of all bands. Staged: one for each enlargement, its channels stay.
    convs = [name for name in shapes.tensors if re.fullmatch(r"upsample\.\d+\.weight", name)]
    channels = [len(RGB) if "conv_last.weight" not in shapes.tensors else shapes.size(name, 1) for name in convs]
    factors = [math.isqrt(shapes.size(name, 0) // count) for name, count in zip(convs, channels, strict=True)]
    return math.prod(factors)


def _colours(shapes: _Shapes, first: str) -> dict[str, Any]:
    return {"colours": "y" if shapes.size(f"{first}.weight", 1) == 1 else "rgb"}


READERS = {
    "srcnn": _Reader(_srcnn),
    "fsrcnn": _Reader(_fsrcnn),
    "srresnet": _Reader(_srresnet, lambda shapes: 2 ** shapes.count("stages")),
    "rrdb": _Reader(_rrdb, lambda shapes: 4),
    "swinir": _Reader(_swinir, _swinir_scale),
    "efdn": _Reader(_efdn, lambda shapes: round((shapes.size("tail.0.weight", 0) / len(RGB)) ** 0.5)),
}


def import_published(
    path: Path, family: str, folder: Path, task: str | None = None, options: Mapping[str, Any] | None = None
) -> Card:
    """Write a checkpoint folder of published weights, whole or not at all, and return its card.

    `path` is a file of tensors by name, safetensors or what torch saves. `options` are those of the family that no
    shape tells: `colours: ycbcr`, `padding`, `crop_px`, `norm_eps`. `task` is needed where no shape tells the scale.
    Raises CheckpointError for a file that cannot be read, ArchitectureError naming the tensors that do not fit,
    NotFiniteError for values that are no numbers, RecipeError for options or a task that the family does not have,
    OutputError if the folder exists or cannot be written.
    """
    if family not in READERS:
        raise RecipeError(f"unknown family {family!r}", where="FAMILY", cure=f"choose one of {', '.join(READERS)}")
    if folder.exists():
        raise OutputError("exists", where=folder, cure="give a folder that does not exist yet")
    held = _tensors_of(read_tensors(path), path)
    renamed, told = OUR_NAMES[family](held)
    shapes = _Shapes(family, renamed, path)
    read = READERS[family].options(shapes)
    model = parse_model({"family": family, **read, **told, **(options or {})}, f"options of {family}")
    named = task_by_name(task or _task_of(shapes))
    generator = build_generator(model, named, Facts(_PATCH_PX * named.scale, Units.of(_UNITS)))
    _load(generator, renamed, path)
    card = Card(
        task=named.name,
        model=model,
        facts=generator.facts,
        degradation=_DEGRADATION,
        level="",
        parameters=count_parameters(generator),
        step=0,
        samples=0,
    )
    write_folder(folder, generator, card)
    return card


def _tensors_of(held: dict[str, Any], path: Path) -> Tensors:
    """Return the tensors by name in a file's content. Raises NotFiniteError for values that are no numbers."""
    inner = next((held[key] for key in _WITHIN if isinstance(held.get(key), Mapping)), held)
    tensors = {
        str(name).removeprefix("module."): value for name, value in inner.items() if isinstance(value, torch.Tensor)
    }
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise NotFiniteError(f"{broken[0]} holds NaN or infinity", where=path, cure="fetch the file again")
    return tensors


def _task_of(shapes: _Shapes) -> str:
    scale = READERS[shapes.family].scale(shapes)
    if scale is None:
        raise RecipeError(
            f"the tensors of a {shapes.family} do not tell its scale", where=shapes.where, cure="give --task sisr_x3"
        )
    return f"sisr_x{scale}"


def _load(generator: Generator, tensors: Tensors, path: Path) -> None:
    """Put the tensors in. torch's count of the batches that a BatchNorm saw is left out by others: it starts anew."""
    counts = {name: value for name, value in generator.state_dict().items() if name.endswith("num_batches_tracked")}
    try:
        load_weights(generator, {**counts, **tensors}, path)
    except ArchitectureError as error:
        raise ArchitectureError(
            f"does not fit {type(generator).__name__}, as far as its shapes tell: {error.problem}",
            where=path,
            cure="give the family, the task and the options that it was trained with",
        ) from error
