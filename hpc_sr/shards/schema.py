"""What a store is: shards of patches and one manifest that describes them.

    store/manifest.json            format, task, degradation, level, layers, shards per split, products, statistics
    store/shards/<name>.h5         one dataset per layer, (N, C, H, W) int16; `origin` (N, 2): each patch's upper-left
                                   target pixel in its product; `product` (N,): which of the attribute `products`
    store/maps/<name>.png          kept and refused patches of one product over a quicklook
    store/records/<name>.json      what became of one product: makes preparation resumable
    store/parts/<name>.h5          training patches of one product until they are mixed with those of others
    store/generations/<name>.json  which products were mixed into which shards

Patch values are in the manifest's `units`, reflectance after the radiometric offset. There is no fill value: a patch
with nodata or saturation is refused when it is cut.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from hpc_sr.disk import write_atomically
from hpc_sr.errors import ChecksumError, ManifestError
from hpc_sr.tasks import Task

FORMAT_VERSION = 2
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class ShardEntry:
    """One shard as the manifest lists it; `products` are the names of those that its patches come from."""

    file: str
    products: tuple[str, ...]
    rows: int
    bytes: int
    sha256: str

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> ShardEntry:
        """Return the entry that `asdict` and JSON were applied to."""
        return cls(**{**content, "products": tuple(content["products"])})


@dataclass(frozen=True)
class Manifest:
    """The description of a store.

    `products` tell of each product or image where it went and what was refused, `skipped` which could not be used.
    `statistics` are per layer and band over the training split, in stored units; `sums` are what they follow from, so
    that stores merge. `settings` is the recipe's section.
    """

    format_version: int
    task: str
    patch_px: int
    stride_px: int
    degradation: str
    level: str
    layout: str
    units: str
    layers: dict[str, dict[str, Any]]
    splits: dict[str, tuple[ShardEntry, ...]]
    products: tuple[dict[str, Any], ...]
    skipped: tuple[dict[str, str], ...]
    statistics: dict[str, dict[str, list[float]]]
    sums: dict[str, dict[str, Any]]
    settings: dict[str, Any]
    software: dict[str, str]

    def rows(self, split: str) -> int:
        """Return the number of patches in a split."""
        return sum(entry.rows for entry in self.splits[split])

    def contents(self) -> str:
        """Return what the store holds, in a line."""
        counts = ", ".join(f"{self.rows(split)} {split}" for split in self.splits)
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        return f"{counts} patches of {len(self.products)} {'products' if self.level else 'images'}{skipped}"


def layers_of(task: Task, patch_px: int) -> dict[str, dict[str, Any]]:
    """Return the layers of a task's patches as the manifest describes them."""
    return {
        layer.name: {"bands": list(layer.bands), "stride": layer.stride, "shape": list(task.shape(layer, patch_px))}
        for layer in task.layers
    }


def write_manifest(store: Path, manifest: Manifest) -> Path:
    """Write the manifest with its own checksum, whole or not at all; return its path."""
    content = json.loads(json.dumps(asdict(manifest)))
    path = store / "manifest.json"
    write_atomically(path, json.dumps({"sha256": _digest(content), **content}, indent=1) + "\n")
    return path


def read_manifest(store: str | Path) -> Manifest:
    """Return the manifest of a store.

    Raises ManifestError if there is none or its format is another; ChecksumError if it was changed by hand.
    """
    path = Path(store) / "manifest.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"cannot be read ({error})", where=path, cure="run `hpc-sr prepare` first") from error
    except json.JSONDecodeError as error:
        raise ManifestError(f"is not JSON ({error})", where=path, cure="run `hpc-sr prepare` again") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise ManifestError(
            f"format_version is {version!r}, this version reads {FORMAT_VERSION}",
            where=path,
            cure="prepare the store with this version of hpc_sr",
        )
    recorded = content.pop("sha256", None)
    if recorded != _digest(content):
        raise ChecksumError(
            f"sha256 {str(recorded)[:12]} is not that of the content, {_digest(content)[:12]}",
            where=path,
            cure="the manifest was changed or damaged: run `hpc-sr prepare` again, finished shards are kept",
        )
    missing = {field.name for field in fields(Manifest)} - set(content)
    if missing:
        raise ManifestError(f"lacks {', '.join(sorted(missing))}", where=path, cure="run `hpc-sr prepare` again")
    content["splits"] = {
        split: tuple(ShardEntry.from_json(entry) for entry in content["splits"].get(split, ())) for split in SPLITS
    }
    content["products"], content["skipped"] = tuple(content["products"]), tuple(content["skipped"])
    return Manifest(**content)


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
