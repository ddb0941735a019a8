"""Which number type a network computes in: the fast one of the hardware, never one that it only could use."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import torch

from hpc_sr.errors import RecipeError

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(requested: str, device: torch.device) -> str:
    """Return "fp32", "bf16" or "fp16"; `auto` takes the fastest that the device multiplies.

    bf16 from Ampere on and on processors with AVX-512 BF16 or AMX, fp16 on GPUs with tensor cores before it (V100,
    T4). Raises RecipeError if bf16 is asked for on a GPU without it.
    """
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    if requested == "auto":
        return _fastest(capability)
    if requested == "bf16" and capability is not None and capability < (8, 0):
        raise RecipeError(
            f"bf16 on {torch.cuda.get_device_name(device)}, which has none",
            where="train.precision",
            cure="set train.precision=auto, fp16 or fp32",
        )
    return requested


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Return the context in which the forward pass runs. Weights, loss and optimizer stay float32."""
    return torch.autocast(device.type, _TYPES.get(precision), enabled=precision in _TYPES)


def _fastest(capability: tuple[int, int] | None) -> str:
    """Return the fastest type of a GPU of this compute capability, or of this machine's processor if None."""
    if capability is not None:
        return "bf16" if capability >= (8, 0) else "fp16" if capability >= (7, 0) else "fp32"
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "fp32"
    return "bf16" if "avx512_bf16" in flags or "amx_bf16" in flags else "fp32"
