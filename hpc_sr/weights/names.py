"""What the tensors of published networks are called in the files of others, and here.

Each function takes tensors by their names and returns them by ours, and options that the names themselves tell.
A name that it does not know stays as it is: what fits nowhere is told when the tensors meet the network.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import torch

Renamed = tuple[dict[str, torch.Tensor], dict[str, Any]]

#: Keras' BatchNormalization adds this to a variance, if nothing else is said; torch a hundredth of it.
_KERAS_EPS = 1e-3
_KERAS_PARTS = {
    "kernel": "weight",
    "gamma": "weight",
    "alpha": "weight",
    "bias": "bias",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_KERAS_KINDS = {"conv2d": "conv2d", "batch_normalization_v1": "norm", "batch_normalization": "norm", "p_re_lu": "slope"}
#: A part of a network: what it is called elsewhere, as an expression, and here.
Rule = tuple[str, str]


def _srcnn(theirs: dict[str, torch.Tensor]) -> Renamed:
    rules = [("conv1|patch_extraction", "first"), ("conv2|nonlinear_map", "middle"), ("conv3|recon", "last")]
    return _by_rules(theirs, rules), {}


def _fsrcnn(theirs: dict[str, torch.Tensor]) -> Renamed:
    """With names, or numbered: feature extraction, shrinking, maps, expansion; relu with them, or the odd ones."""
    maps = sum(re.fullmatch(r"(conv|relu)\d+\.weight", name) is not None for name in theirs) // 2 - 3
    ours = ["features", "shrink", *(f"maps.{k}" for k in range(maps)), "expand"]
    rules = [(rf"conv{k}", f"{part}.0") for k, part in enumerate(ours, 1)]
    rules += [(rf"relu{k}", f"{part}.1") for k, part in enumerate(ours, 1)]
    rules += [(rf"map\.{k}", f"maps.{k // 2}.{k % 2}") for k in range(2 * sum(n.startswith("map.") for n in theirs))]
    return _by_rules(theirs, [*rules, ("feature_extraction", "features"), ("deconv", "last")]), {}


def _srresnet(theirs: dict[str, torch.Tensor]) -> Renamed:
    """Keras numbers its layers by kind, in the model's order, and leaves the first number out."""
    layers = {name.split("/")[0] for name in theirs if "/" in name}
    if not layers:
        return theirs, {}
    blocks, stages = _keras_depth(layers)
    ours = {"conv2d": ["first"], "norm": [], "slope": ["first_slope"]}
    for block in range(blocks):
        ours["conv2d"] += [f"blocks.{block}.first", f"blocks.{block}.second"]
        ours["norm"] += [f"blocks.{block}.first_norm", f"blocks.{block}.second_norm"]
        ours["slope"] += [f"blocks.{block}.slope"]
    ours["conv2d"] += ["trunk", *(f"stages.{stage}.0" for stage in range(stages)), "last"]
    ours["norm"] += ["trunk_norm"]
    ours["slope"] += [f"stages.{stage}.2" for stage in range(stages)]
    found = {}
    for name, tensor in theirs.items():
        kind, number = _keras_layer(name.split("/")[0])
        part = _KERAS_PARTS.get(name.split("/")[-1].removesuffix(":0"))
        known = part is not None and kind in ours and number < len(ours[kind])
        found[f"{ours[kind][number]}.{part}" if known else name] = tensor
    return found, {"norm_eps": _KERAS_EPS}


def _rrdb(theirs: dict[str, torch.Tensor]) -> Renamed:
    """BasicSR's names are ours; the first release's are told apart by their capitals."""
    rules = [("RRDB_trunk", "body"), ("trunk_conv", "conv_body"), ("upconv1", "conv_up1"), ("upconv2", "conv_up2")]
    renamed = _by_rules(theirs, [*rules, ("HRconv", "conv_hr")])
    return {name.replace(".RDB", ".rdb"): tensor for name, tensor in renamed.items()}, {}


def _swinir(theirs: dict[str, torch.Tensor]) -> Renamed:
    """The authors' names are ours. What follows from the options is left out: numbers of places, masks."""
    made = ("relative_position_index", "attn_mask")
    return {name: tensor for name, tensor in theirs.items() if not name.endswith(made)}, {}


def _keras_depth(layers: Iterable[str]) -> tuple[int, int]:
    """Return how many blocks and stages of finer pixels a model of these layers has."""
    kinds = [_keras_layer(layer)[0] for layer in layers]
    blocks = max(kinds.count("norm") - 1, 0) // 2
    return blocks, max(kinds.count("conv2d") - 2 * blocks - 3, 0)


def _keras_layer(layer: str) -> tuple[str, int]:
    """Return kind and number of a layer: conv2d_7 is 7, conv2d is 0."""
    found = re.fullmatch(r"(\w+?)(?:_(\d+))?", layer.replace("batch_normalization_v1", "batch_normalization"))
    return (_KERAS_KINDS.get(found[1], found[1]), int(found[2] or 0)) if found else (layer, 0)


def _by_rules(theirs: dict[str, torch.Tensor], rules: Iterable[Rule]) -> dict[str, torch.Tensor]:
    """Return the tensors with the beginnings of their names, up to a dot, replaced by the first rule that fits."""
    patterns = [(re.compile(rf"(?:{theirs})\."), ours) for theirs, ours in rules]
    return {_renamed(name, patterns): tensor for name, tensor in theirs.items()}


def _renamed(name: str, patterns: list[tuple[re.Pattern[str], str]]) -> str:
    for pattern, ours in patterns:
        if found := pattern.match(name):
            return f"{ours}.{name[found.end() :]}"
    return name


#: By family.
OUR_NAMES: dict[str, Callable[[dict[str, torch.Tensor]], Renamed]] = {
    "srcnn": _srcnn,
    "fsrcnn": _fsrcnn,
    "srresnet": _srresnet,
    "rrdb": _rrdb,
    "swinir": _swinir,
    "efdn": lambda theirs: (theirs, {}),
}
