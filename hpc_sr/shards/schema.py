"""What a store is: shards of patches and one manifest that describes them.

    store/manifest.json            format, task, degradation, level, layers, shards per split, products, statistics
    store/shards/<name>.h5         one dataset per layer, (N, C, H, W) int16; `origin` (N, 2): each patch's upper-left
                                   target pixel in its product; `product` (N,): which of the attribute `products`
    store/maps/<name>.png          kept and refused patches of one product over a quicklook
    store/records/<name>.json      what became of one product: makes preparation resumable
    store/parts/<name>.h5          training patches of one product until they are mixed with those of others
    store/generations/<name>.json  which products were mixed into which shards
    store/.lock                    who is writing into the store

All JSON files carry a checksum of their content; a store's own files are those that they list.
Patch values are in the manifest's `units`, reflectance after the radiometric offset. There is no fill value: a patch
with nodata or saturation is refused when it is cut.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from hpc_sr.config import Count, CountFrom0, Pixels, PlainName, plain_file
from hpc_sr.disk import is_there
from hpc_sr.errors import ChecksumError, ManifestError
from hpc_sr.shards.sealed import as_kind, read_object, unsealed, write_sealed
from hpc_sr.tasks import Task

FORMAT_VERSION = 2
SPLITS = ("train", "validation", "test")

#: Sums over all pixels of a store pass whatever bound a recipe's counts have.
_NotNegative = Annotated[int, Field(ge=0)]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_MEND = (
    "put back a copy of it; without one: if records/ lies beside it, move it away and run `hpc-sr prepare` again, "
    "finished patches are kept; if the store was merged, merge again"
)


@dataclass(frozen=True)
class ShardEntry:
    """One shard as the manifest lists it; `products` are the names of those that its patches come from."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    file: Annotated[str, AfterValidator(plain_file)]
    products: tuple[PlainName, ...]
    rows: Count
    bytes: _NotNegative
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> ShardEntry:
        """Return the entry that `asdict` and JSON were applied to."""
        return cls(**{**content, "products": tuple(content["products"])})


class Layer(TypedDict):
    """How a layer's patches are stored: (C, H, W) of these bands, one of its pixels spanning `stride` target pixels."""

    bands: list[str]
    stride: Count
    shape: Annotated[list[Count], Field(min_length=3, max_length=3)]


class Sums(TypedDict):
    """What mean and standard deviation of a layer's bands follow from."""

    count: Annotated[int, Field(ge=1)]
    sum: list[int]
    sum_of_squares: list[_NotNegative]


class Statistics(TypedDict):
    """Mean and standard deviation of a layer's bands, in stored units."""

    mean: list[_Number]
    std: list[_Number]


class BlocksLine(TypedDict):
    """Where the blocks lie that a part of a product is kept to: left, bottom, right, top of each in metres."""

    crs: str
    bounds_m: list[Annotated[list[_Number], Field(min_length=4, max_length=4)]]


@with_config(ConfigDict(extra="allow"))
class _Line(TypedDict):
    """What every line on a product holds; it tells more. `part_of` names the product that blocks are held out of."""

    product: PlainName
    split: Literal["train", "validation", "test"]
    tile: NotRequired[str]
    sensing_time: NotRequired[str]
    patches: NotRequired[CountFrom0]
    refused: NotRequired[dict[str, CountFrom0]]
    satellite: NotRequired[str]
    part_of: NotRequired[PlainName]
    blocks: NotRequired[BlocksLine]


@dataclass(frozen=True)
class Manifest:
    """The description of a store.

    `products` tell of each product or image where it went and what was refused, `skipped` which could not be used.
    `statistics` are per layer and band over the training split, in stored units; `sums` are what they follow from, so
    that stores merge. `settings` is the recipe's section.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    format_version: int
    task: str
    patch_px: Pixels
    stride_px: Pixels
    degradation: str
    level: str
    layout: str
    units: str
    layers: dict[str, Layer]
    splits: dict[str, tuple[ShardEntry, ...]]
    products: tuple[_Line, ...]
    skipped: tuple[dict[str, str], ...]
    statistics: dict[str, Statistics]
    sums: dict[str, Sums]
    settings: dict[str, Any]
    software: dict[str, str]

    def rows(self, split: str) -> int:
        """Return the number of patches in a split."""
        return sum(entry.rows for entry in self.splits[split])

    def contents(self) -> str:
        """Return what the store holds, in a line."""
        counts = ", ".join(f"{self.rows(split)} {split}" for split in self.splits)
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        whole = {line.get("part_of", line["product"]) for line in self.products}
        return f"{counts} patches of {len(whole)} {'products' if self.level else 'images'}{skipped}"

    def blocks(self, split: str) -> dict[str, BlocksLine]:
        """Return the blocks of a split, by product, of a store that holds out parts of its products."""
        return {
            line["part_of"]: line["blocks"] for line in self.products if line["split"] == split and "blocks" in line
        }


def layers_of(task: Task, patch_px: int) -> dict[str, Layer]:
    """Return the layers of a task's patches as the manifest describes them."""
    return {
        layer.name: {"bands": list(layer.bands), "stride": layer.stride, "shape": list(task.shape(layer, patch_px))}
        for layer in task.layers
    }


def write_manifest(store: Path, manifest: Manifest) -> Path:
    """Write the manifest with its own checksum, whole or not at all; return its path."""
    path = store / "manifest.json"
    write_sealed(path, asdict(manifest))
    return path


def read_manifest(store: str | Path) -> Manifest:
    """Return the manifest of a store.

    Raises ManifestError if there is none, its format is another, or it does not hold together; ChecksumError if it
    was changed by hand.
    """
    path = Path(store) / "manifest.json"
    if not is_there(path):
        raise ManifestError("is missing", where=path, cure="run `hpc-sr prepare` first")
    content = read_object(path, _MEND)
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise ManifestError(
            f"format_version is {version!r}, this version reads {FORMAT_VERSION}",
            where=path,
            cure="prepare another store with this version of hpc_sr",
        )
    content, sealed = unsealed(content, path, _MEND)
    if not sealed:
        raise ChecksumError("has no checksum", where=path, cure=_MEND)
    manifest: Manifest = as_kind(_MANIFEST, content, path, _MEND)
    fault = _fault(manifest)
    if fault:
        raise ManifestError(fault, where=path, cure=_MEND)
    return manifest


def _fault(manifest: Manifest) -> str | None:
    """Return what does not hold together in a manifest, or None."""
    if set(manifest.splits) != set(SPLITS):
        return f"has the splits {', '.join(manifest.splits)}, not {', '.join(SPLITS)}"
    files = [entry.file for entries in manifest.splits.values() for entry in entries]
    if len(set(files)) < len(files):
        return "lists a shard twice"
    strange = next((file for file in files if not file.startswith("shards/")), None)
    if strange is not None:
        return f"lists {strange}, which does not lie in shards/"
    for told in (manifest.statistics, manifest.sums):
        for name, numbers in told.items():
            bands = len(manifest.layers[name]["bands"]) if name in manifest.layers else None
            if any(len(values) != bands for values in numbers.values() if isinstance(values, list)):
                return f"has statistics of {name} that are not of its bands"
    return None


_MANIFEST = TypeAdapter(Manifest)
