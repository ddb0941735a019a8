"""The same bits from the same numbers: whether torch may choose algorithms that add in any order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.deterministic

from hpc_sr.errors import TrainingError

_memory: Any = torch.utils.deterministic  # its attributes are made at run time
_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def repeatable(deterministic: bool) -> Iterator[None]:
    """Let torch use algorithms alone that repeat to the bit, or any of them; afterwards all is as it was before.

    On a GPU: convolutions by deterministic algorithms of cuDNN, products of matrices with a workspace of a fixed size,
    and attention whose gradients are added in one order. Raises TrainingError for an operation without such a form.
    """
    modes = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    of_cudnn, fills, workspace = (
        torch.backends.cudnn.deterministic,
        _memory.fill_uninitialized_memory,
        os.environ.get(_WORKSPACE),
    )
    if deterministic:
        os.environ.setdefault(_WORKSPACE, ":4096:8")  # read at the first product, so before it
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    _memory.fill_uninitialized_memory = False  # it shows who reads memory before writing it, and takes time
    try:
        yield
    except RuntimeError as error:
        if "use_deterministic_algorithms" not in str(error):
            raise
        raise TrainingError(
            f"this device cannot repeat an operation of the recipe to the bit ({str(error).split('. ')[0]})",
            where="train.deterministic",
            cure="set train.deterministic=false: a resumed run then repeats an unbroken one up to rounding",
        ) from error
    finally:
        torch.use_deterministic_algorithms(modes[0], warn_only=modes[1])
        torch.backends.cudnn.deterministic = of_cudnn
        _memory.fill_uninitialized_memory = fills
        if workspace is None:
            os.environ.pop(_WORKSPACE, None)
