"""JSON files of a store, each with a checksum of its own content: what was changed or cut is never believed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hpc_sr.disk import read_json, write_atomically
from hpc_sr.errors import ChecksumError, ManifestError

#: A manifest of ten thousand products mixed over a thousand shards names each in each.
_MOST_BYTES = 2 << 30


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """Write the content with its checksum, whole or not at all."""
    content = json.loads(_text(content))
    write_atomically(path, json.dumps({"sha256": _digest(content), **content}, indent=1) + "\n")


def read_object(path: Path, cure: str) -> dict[str, Any]:
    """Return what a file of `write_sealed` holds, sealed still. Raises ManifestError if it cannot be read."""
    return read_json(path, ManifestError, cure, _MOST_BYTES)


def unsealed(content: dict[str, Any], path: Path, cure: str) -> tuple[dict[str, Any], bool]:
    """Return the content without its checksum, and whether it had one: records and generations once had none.

    Raises ChecksumError if it is not what was written.
    """
    recorded = content.pop("sha256", None)
    found = _digest(content)
    if recorded not in (None, found):
        raise ChecksumError(
            f"sha256 {str(recorded)[:12]} is not that of the content, {found[:12]}", where=path, cure=cure
        )
    return content, recorded is not None


def as_kind(adapter: TypeAdapter, content: dict[str, Any], path: Path, cure: str) -> Any:
    """Return the content as what an adapter makes of it. Raises ManifestError naming what is wrong in it."""
    try:
        return adapter.validate_json(_text(content), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    place, message = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    raise ManifestError(f"{place or 'content'} = {str(first['input'])[:100]!r}: {message}", where=path, cure=cure)


def _text(content: dict[str, Any]) -> bytes:
    """Return the content as JSON; of file names that are not UTF-8 the bytes that are not become question marks."""
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
