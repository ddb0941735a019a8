"""What makes two stores the same, for tests that prepare one in several ways."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def content(store: Path) -> dict[str, Any]:
    """Return a store's manifest, order aside, and the checksum of each shard as it is on the disk now."""
    manifest = json.loads((store / "manifest.json").read_text())
    del manifest["sha256"]  # tells the order too
    for split, entries in manifest["splits"].items():
        manifest["splits"][split] = sorted(entries, key=lambda entry: entry["file"])
        for entry in entries:
            assert entry["sha256"] == hashlib.sha256((store / entry["file"]).read_bytes()).hexdigest()
    for key in ("products", "skipped"):
        manifest[key] = sorted(manifest[key], key=lambda line: line["product"])
    return manifest


def files(store: Path) -> set[str]:
    """Return the names of all files of a store, half-written ones too."""
    return {path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file()}
