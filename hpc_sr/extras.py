"""Libraries that some commands need and others do not, and the extras that bring them: `pip install 'hpc_sr[report]'`.

A room that cannot do without one asks for it in its `__init__.py`. Who can do without asks `has`, and says what is left
out.
"""

from __future__ import annotations

from importlib import import_module

from hpc_sr.errors import MissingComponentError


def has(library: str) -> bool:
    """Return whether a library is installed and loads."""
    try:
        import_module(library)
    except ImportError:
        return False
    return True


def need(library: str, extra: str, purpose: str) -> None:
    """Raise MissingComponentError, which names the extra, if a library is not installed."""
    if not has(library):
        raise MissingComponentError(f"{purpose} needs {library}, which is not installed", cure=install(extra))


def install(extra: str) -> str:
    """Return the command that brings an extra."""
    return f"pip install 'hpc_sr[{extra}]'"
