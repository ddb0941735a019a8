"""Super-resolution of Sentinel-2: all bands at 10 m, with and without trained networks.

    import hpc_sr

    bands = hpc_sr.sharpen("X.SAFE", region=(11.2, 55.4, 11.3, 55.5))   # an xarray.Dataset
    hpc_sr.sharpen("X.SAFE", out="X_10m.tif")                           # a file

docs/python.md has more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpc_sr.api import load_model, open_product, score, sharpen

__version__ = "0.6.0"
__all__ = ["__version__", "load_model", "open_product", "score", "sharpen"]


def __getattr__(name: str) -> Any:
    """Return what api.py has, when it is first asked for: until then nothing large is loaded."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hpc_sr import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
