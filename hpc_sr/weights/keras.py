"""The published weights of DSen2 and VDSen2, as Keras wrote them (HDF5), made a generator of ours.

Keras' `save_weights`: the root's attribute `layer_names` lists the layers, a group a layer, whose attribute
`weight_names` lists its datasets (`conv2d_1/conv2d_1/kernel:0`). A saved model has the same in `model_weights`.
Kernels are (3, 3, in, out) whatever the order of the activations' axes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import torch

from hpc_sr.disk import size_of
from hpc_sr.errors import ArchitectureError, CheckpointError, NotFiniteError, OutputError, RecipeError
from hpc_sr.models.build import build_generator, count_parameters
from hpc_sr.models.facts import Facts
from hpc_sr.models.options import DSen2Options
from hpc_sr.tasks import BANDS_10M, S2X, S6X, Task
from hpc_sr.weights.card import Card
from hpc_sr.weights.folder import write_folder
from hpc_sr.weights.tensors import load_weights

#: The order of the 10 m bands that the published networks were trained with: their scripts read products through
#: GDAL, which gives the red band first. Their comments say B2, B3, B4, B8, but the image that they demonstrate with
#: has red first too: its third channel, not its first, follows the aerosol band.
PUBLISHED_10M = ("B04", "B03", "B02", "B08")

#: What the published networks were trained with (Lanaras et al. 2018): Gaussian of sigma 1 / scale px, then the mean.
_DEGRADATION, _RESIDUAL_SCALE = "wald", 0.1
_PATCH_PX = {S2X.name: 32, S6X.name: 96}

_PARTS = {"kernel", "bias"}

#: A convolution's kernel (3, 3, in, out) and bias (out,).
Convolution = tuple[np.ndarray, np.ndarray]


def read_keras_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of a Keras file, layers in the model's order: {"conv2d_1/conv2d_1/kernel": values, ...}.

    Raises CheckpointError if it is no HDF5 file, has not Keras' layout, or lacks a weight that it announces.
    """
    weights, cure = {}, "fetch the .hdf5 file again"
    size_of(path, CheckpointError, cure, most_bytes=sys.maxsize)
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            if "layer_names" not in root.attrs:
                raise CheckpointError(
                    "is HDF5 without Keras' layer_names",
                    where=path,
                    cure="give a file of Keras' save_weights; Keras 3 writes that layout by model.save('model.h5')",
                )
            for layer in _names(root.attrs["layer_names"]):
                for name in _names(root[layer].attrs["weight_names"]):
                    weights[f"{layer}/{name.removesuffix(':0')}"] = np.asarray(root[layer][name], np.float32)
    except CheckpointError:
        raise
    # A damaged file makes HDF5 fail in any way.
    except Exception as error:
        raise CheckpointError(f"cannot be read ({error})", where=path, cure=cure) from error
    return weights


def import_dsen2(path: str | Path, folder: Path, level: str = "L1C", bands_10m: Sequence[str] = PUBLISHED_10M) -> Card:
    """Write a checkpoint folder of a Keras DSen2, whole or not at all, and return its card.

    Task, width and blocks are read off the kernels: 10 inputs to 6 bands are s2x, 12 to 2 are s6x. `level` is that of
    the products it was trained on, `bands_10m` the order of its first four inputs; no file says either.
    Raises CheckpointError or ArchitectureError naming what differs from a DSen2, RecipeError for an order that is
    none, OutputError if the folder exists or cannot be written.
    """
    if sorted(bands_10m) != sorted(BANDS_10M):
        raise RecipeError(
            f"{', '.join(bands_10m)} is no order of the 10 m bands",
            where="bands_10m",
            cure=f"give {', '.join(BANDS_10M)}, each once, as {','.join(PUBLISHED_10M)}",
        )
    if folder.exists():
        raise OutputError("exists", where=folder, cure="give a folder that does not exist yet")
    convolutions = _dsen2_convolutions(read_keras_weights(path), path)
    task = _task_of(convolutions[0][0].shape[2])
    assert task is not None
    model = DSen2Options(
        family="dsen2",
        width=convolutions[0][0].shape[3],
        blocks=len(convolutions) // 2 - 1,
        residual_scale=_RESIDUAL_SCALE,
    )
    facts = Facts(_PATCH_PX[task.name])
    generator = build_generator(model, task, facts)
    load_weights(generator, _as_tensors(convolutions, bands_10m), Path(path))
    card = Card(
        task=task.name,
        model=model,
        facts=facts,
        degradation=_DEGRADATION,
        level=level,
        parameters=count_parameters(generator),
        step=0,
        samples=0,
    )
    write_folder(folder, generator, card)
    return card


def _names(attribute: np.ndarray) -> list[str]:
    """Return the strings of an attribute, which are bytes from older versions of Keras and h5py."""
    return [name.decode() if isinstance(name, bytes) else str(name) for name in attribute]


def _dsen2_convolutions(weights: dict[str, np.ndarray], where: str | Path) -> list[Convolution]:
    """Return a DSen2's convolutions from the first to the last. Raises ArchitectureError naming what differs."""
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, values in weights.items():
        layer, part = name.rsplit("/", 1)
        layers.setdefault(layer, {})[part] = values
    others = [f"{name} holds {', '.join(sorted(parts))}" for name, parts in layers.items() if set(parts) != _PARTS]
    if others:
        raise _other_network(others, where)
    # The file lists layers as the model runs through them; if that is no chain, as Keras has counted them.
    misfits = _misfits(list(layers.values()))
    if misfits:
        layers = dict(sorted(layers.items(), key=lambda item: _trailing_number(item[0])))
        if _misfits(list(layers.values())):
            raise _other_network(misfits, where)
    broken = [name for name, values in weights.items() if not np.isfinite(values).all()]
    if broken:
        raise NotFiniteError(f"{broken[0]} holds NaN or infinity", where=where, cure="fetch the .hdf5 file again")
    return [(parts["kernel"], parts["bias"]) for parts in layers.values()]


def _misfits(layers: list[dict[str, np.ndarray]]) -> list[str]:
    """Return how the layers, in this order, differ from a DSen2; nothing if they are one."""
    if len(layers) < 4 or len(layers) % 2:
        return [f"{len(layers)} convolutions, not 2 and 2 for each block"]
    shapes = [parts["kernel"].shape for parts in layers]
    odd = [shape for shape in shapes if len(shape) != 4 or shape[:2] != (3, 3)]
    if odd:
        return [f"a kernel of shape {odd[0]}, not (3, 3, in, out)"]
    channels_in, width = shapes[0][2:]
    task = _task_of(channels_in)
    if task is None:
        return [f"{channels_in} input bands, not 10 (s2x) or 12 (s6x)"]
    bands = len(task.target.bands)
    inside = [
        f"a kernel {shape} inside, not (3, 3, {width}, {width})"
        for shape in shapes[1:-1]
        if shape[2:] != (width, width)
    ]
    last = [] if shapes[-1][2:] == (width, bands) else [f"a last kernel {shapes[-1]}, not (3, 3, {width}, {bands})"]
    biases = [
        f"a bias of shape {parts['bias'].shape} beside a kernel {shape}"
        for parts, shape in zip(layers, shapes, strict=True)
        if parts["bias"].shape != shape[3:]
    ]
    return [*inside[:1], *last, *biases[:1]]


def _other_network(misfits: list[str], where: str | Path) -> ArchitectureError:
    return ArchitectureError(
        f"is no DSen2: {'; '.join(misfits[:3])}", where=where, cure="give the weights of a DSen2 or VDSen2"
    )


def _trailing_number(layer: str) -> int:
    """Return N of "conv2d_N"; Keras leaves it out for the first one."""
    found = re.search(r"_(\d+)$", layer)
    return int(found[1]) if found else 0


def _task_of(channels_in: int) -> Task | None:
    for task in (S2X, S6X):
        if channels_in == sum(len(layer.bands) for layer in task.inputs):
            return task
    return None


def _as_tensors(convolutions: list[Convolution], bands_10m: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return the tensors under our names, (out, in, 3, 3), with the first four inputs in our order."""
    blocks = range(len(convolutions) // 2 - 1)
    ours = ["first", *(f"trunk.{block}.{part}" for block in blocks for part in ("first", "second")), "head"]
    tensors = {}
    for name, (kernel, bias) in zip(ours, convolutions, strict=True):
        if name == "first":
            theirs = [*(list(bands_10m).index(band) for band in BANDS_10M), *range(4, kernel.shape[2])]
            kernel = kernel[:, :, theirs]
        tensors[f"{name}.weight"] = torch.from_numpy(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
        tensors[f"{name}.bias"] = torch.from_numpy(bias.copy())
    return tensors
