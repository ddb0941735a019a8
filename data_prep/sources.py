"""What patches come from: the few things that building a store asks of a product or an image."""

from __future__ import annotations

from typing import Any, Protocol

from hpc_sr.sentinel2.pairs import Pair


class Source(Protocol):
    """One product or image. `name` is unique in a store and a plain file name; `size_bytes` is what is to decode.

    `tile` and `date` are what splits go by: for an image its name and "". `level` is L1C, L2A, or "" for an image.
    """

    @property
    def name(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def tile(self) -> str: ...

    @property
    def date(self) -> str: ...

    @property
    def level(self) -> str: ...

    def facts(self) -> dict[str, Any]:
        """Return all that decides the patches besides the recipe, for JSON: metadata, sizes of files."""
        ...

    def about(self) -> dict[str, Any]:
        """Return the source's line in the manifest, for JSON."""
        ...

    def pair(self, training: bool) -> Pair:
        """Return layers and marks. Raises HpcSrError if the source cannot be used."""
        ...
