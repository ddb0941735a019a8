"""Where a network computes in bfloat16: where the processor does so faster, never where it only could."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import torch

from hpc_sr.errors import RecipeError


def choose_precision(requested: str, device: torch.device) -> str:
    """Return "fp32" or "bf16". `auto` takes bf16 where the hardware multiplies it (Ampere, AVX-512 BF16, AMX).

    Raises RecipeError if bf16 is asked for on a GPU without it (V100).
    """
    fast = _multiplies_bf16(device)
    if requested == "auto":
        return "bf16" if fast else "fp32"
    if requested == "bf16" and device.type == "cuda" and not fast:
        raise RecipeError(
            f"bf16 on {torch.cuda.get_device_name(device)}, which has none", where="train.precision",
            cure="set train.precision=fp32 or auto",
        )  # fmt: skip
    return requested


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Return the context in which the forward pass runs. Weights, loss and optimizer stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
