"""What tests import from each other: skips that fail where everything must be there, and the tiny world."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest


def require(condition: object, reason: str) -> None:
    """Skip the test with the reason unless the condition holds; with REQUIRE_ALL=1, fail instead."""
    if condition:
        return
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(f"needed and not there: {reason}")
    pytest.skip(reason)


def run_cli(*arguments: object) -> object:
    """Run `hpc-sr arguments` in this process and return its exit code, None or 0 if all went well."""
    from hpc_sr.__main__ import main

    before, handlers = sys.argv, {number: signal.getsignal(number) for number in signal.valid_signals()}
    sys.argv = ["hpc-sr", *map(str, arguments)]
    try:
        main()
    except SystemExit as stop:
        return stop.code
    finally:
        sys.argv = before
        for number, handler in handlers.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        if (ear := signal.set_wakeup_fd(-1)) != -1:  # training that has ended by an error still listens
            os.close(ear)
    return None


@dataclass(frozen=True)
class TinyWorld:
    """Two made-up products of different tiles and a recipe small enough to train on in seconds."""

    products: tuple[Path, Path]
    recipe: Path
    store: Path
