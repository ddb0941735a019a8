"""Tensors in files and in networks: read without unpickling, written, compared name by name, digested."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from hpc_sr.disk import size_of
from hpc_sr.errors import ArchitectureError, CheckpointError, OutputError
from hpc_sr.models.generator import Generator


def read_tensors(path: Path) -> dict[str, Any]:
    """Return the tensors of a file, on the CPU; nothing but tensors and plain values is ever unpickled."""
    cure = "use another checkpoint, or export the run again"
    size_of(path, CheckpointError, cure, most_bytes=sys.maxsize)
    try:
        held = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    # A damaged file makes torch fail in any way.
    except Exception as error:
        raise CheckpointError(f"cannot be read ({error})", where=path, cure=cure) from error
    if not isinstance(held, dict):
        raise CheckpointError(f"holds a {type(held).__name__}, not tensors by name", where=path, cure=cure)
    return held


def load_weights(generator: nn.Module, tensors: dict[str, torch.Tensor], where: Path) -> None:
    """Put tensors into a generator. Raises ArchitectureError listing what does not fit, field by field."""
    wanted = generator.state_dict()
    misfits = [f"{name} is missing" for name in sorted(wanted.keys() - tensors.keys())]
    misfits += [f"{name} is unknown" for name in sorted(tensors.keys() - wanted.keys())]
    misfits += [f"{name} is no tensor" for name, value in tensors.items() if not isinstance(value, torch.Tensor)]
    misfits += [
        f"{name} is {tuple(tensors[name].shape)}, the model has {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & tensors.keys())
        if isinstance(tensors[name], torch.Tensor) and tensors[name].shape != wanted[name].shape
    ]
    if misfits:
        more = f" and {len(misfits) - 5} more" if len(misfits) > 5 else ""
        raise ArchitectureError(
            f"belongs to another network: {'; '.join(misfits[:5])}{more}",
            where=where,
            cure="make the recipe's model section that of the checkpoint, or choose another run name",
        )
    generator.load_state_dict(tensors)


def write_safetensors(path: Path, generator: Generator, card_json: str) -> None:
    """Write a generator's tensors, with the card in the file's metadata as `card`. Raises OutputError."""
    tensors = {name: tensor.contiguous() for name, tensor in generator.state_dict().items()}
    try:
        save_file(tensors, path, metadata={"format": "pt", "card": card_json})
    except safetensors.SafetensorError as error:
        raise OutputError(f"cannot be written ({error})", where=path, cure="free disk space") from error


def digest_of(generator: Generator) -> str:
    """Return the SHA-256 of a generator's weights, names and bytes."""
    found = hashlib.sha256()
    for name, tensor in sorted(generator.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
