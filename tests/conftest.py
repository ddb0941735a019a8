"""What all tests share: the real data beside the project, and skips that fail where everything must be there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def require(condition: object, reason: str) -> None:
    """Skip the test with the reason unless the condition holds; with REQUIRE_ALL=1, fail instead."""
    if condition:
        return
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(f"needed and not there: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scenes and products, ../shared/data from the project's root."""
    require(_SHARED_DATA.is_dir(), f"no real data at {_SHARED_DATA}")
    return _SHARED_DATA
