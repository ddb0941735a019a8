"""One source's patches and the record of them: what makes preparation resumable source by source."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict

from data_prep import looks, statistics
from data_prep.options import ImageOptions, PrepareOptions
from data_prep.patches import cut, patch_origins, refuse
from data_prep.sources import Source
from hpc_sr.config import CountFrom0
from hpc_sr.disk import sha256_of, telling
from hpc_sr.errors import HpcSrError, ManifestError
from hpc_sr.extras import has
from hpc_sr.sentinel2.pairs import Pair
from hpc_sr.shards.schema import FORMAT_VERSION, Layer, ShardEntry, Sums, layers_of
from hpc_sr.shards.sealed import as_kind, read_object, unsealed, write_sealed
from hpc_sr.shards.writer import ShardWriter
from hpc_sr.tasks import Task

#: Patches that are cut and written at a time: bounds memory, not the result.
_BLOCK_ROWS = 1024
#: Settings that decide where patches go, or which sources there are, but not the patches of a source.
BESIDE_THE_PATCHES = frozenset(
    {
        "products",
        "references",
        "hr",
        "lr",
        "ref",
        "split",
        "phases",
        "bad_products",
        "shuffle",
        "shard_rows",
        "maps",
        "allow_removal",
    }
)
_MEND = "delete it: the product is prepared again"


@dataclass(frozen=True)
class Job:
    """A source, its split, the digest of all that decides its patches, and the file in the store that they go to."""

    source: Source
    split: str
    fingerprint: str
    file: str
    layers: dict[str, Layer]

    @property
    def is_part(self) -> bool:
        """True if the patches wait in a part to be mixed with those of other sources."""
        return self.file.startswith("parts/")


def job_of(source: Source, split: str, options: PrepareOptions | ImageOptions, task: Task) -> Job:
    """Return what there is to do for a source of a split."""
    settings = options.model_dump(mode="json", exclude=set(BESIDE_THE_PATCHES))
    if options.patches_per_product is None:  # what is prepared without this option keeps its digest of before
        del settings["patches_per_product"]
    training = split == "train"
    facts = [FORMAT_VERSION, task.name, settings, source.name, source.facts(), training]
    folder = "parts" if training and options.shuffle else "shards"
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return Job(source, split, digest, f"{folder}/{source.name}.h5", layers_of(task, options.patch_px))


def record_path(store: Path, name: str) -> Path:
    """Return where the record of a source is kept."""
    return store / "records" / f"{name}.json"


@with_config(ConfigDict(extra="allow"))
class _Record(TypedDict):
    """What a record holds, and what is checked of it; `found` is the source's own."""

    fingerprint: str
    split: Literal["train", "validation", "test"]
    about: dict[str, Any]
    patches: CountFrom0
    refused: dict[str, CountFrom0]
    found: dict[str, Any]
    shard: ShardEntry | None
    sums: dict[str, Sums]


_RECORD = TypeAdapter(_Record)


def read_record(path: Path) -> dict[str, Any]:
    """Return what a record holds. One without a checksum, as they once were, is believed if it holds together.

    Raises ManifestError if it cannot be read or does not hold together; ChecksumError if it was changed.
    """
    record, _ = unsealed(read_object(path, _MEND), path, _MEND)
    as_kind(_RECORD, record, path, _MEND)
    fault = _fault(record, path.stem)
    if fault:
        raise ManifestError(fault, where=path, cure=_MEND)
    return record


def _fault(record: dict[str, Any], name: str) -> str | None:
    """Return what does not hold together in a record of this name, or None."""
    patches, shard = record["patches"], record["shard"]
    if (shard is None) != (patches == 0):
        return f"tells of {patches} patches and {'no' if shard is None else 'a'} shard"
    if shard is None:
        return None
    if (
        shard["rows"] != patches
        or shard["products"] != [name]
        or shard["file"] not in (f"parts/{name}.h5", f"shards/{name}.h5")
    ):
        return f"tells of {patches} patches of {name} and of a shard {shard['file']} of {shard['rows']}"
    for layer, sums in record["sums"].items():
        count, lengths = sums["count"], {len(sums["sum"]), len(sums["sum_of_squares"])}
        # A mean's square is at most the mean of squares, and values are int16.
        possible = all(
            total**2 <= count * squares <= count**2 * 2**30
            for total, squares in zip(sums["sum"], sums["sum_of_squares"], strict=False)
        )
        if len(lengths) > 1 or count % patches or not possible:
            return f"tells of sums of {layer} that no patches have"
    return None


def record_of(job: Job, store: Path) -> dict[str, Any] | None:
    """Return the record of an earlier run that wanted the same patches, or None; their file may be gone."""
    try:
        record = read_record(record_path(store, job.source.name))
    except HpcSrError:
        return None  # told already, by what looks through the store
    if record["fingerprint"] != job.fingerprint or not _sums_fit(record, job.layers):
        return None
    return {**record, "split": job.split, "about": job.source.about()}


def _sums_fit(record: dict[str, Any], layers: dict[str, Layer]) -> bool:
    def of(name: str) -> tuple[int, int]:
        bands, height, width = layers[name]["shape"]
        return record["patches"] * height * width, bands

    found = {name: (sums["count"], len(sums["sum"])) for name, sums in record["sums"].items()}
    return found == ({name: of(name) for name in layers} if record["patches"] else {})


def finished(job: Job, store: Path, mixed: bool, checksums: bool) -> dict[str, Any] | None:
    """Return the record of an earlier run if the patches are still there: mixed already, or whole in their file."""
    record = record_of(job, store)
    if record is None or mixed or record["shard"] is None:
        return record
    entry = ShardEntry.from_json(record["shard"])
    at_home = entry.file == job.file or (job.is_part and entry.file == f"shards/{job.source.name}.h5")
    return record if at_home and is_whole(store, entry, checksums) else None


def is_whole(store: Path, entry: ShardEntry, checksums: bool) -> bool:
    """Return whether a shard has the size and, if `checksums`, the content that were recorded."""
    path = store / entry.file
    try:
        return path.stat().st_size == entry.bytes and (not checksums or sha256_of(path) == entry.sha256)
    except OSError:
        return False


def prepare_source(job: Job, options: PrepareOptions | ImageOptions, task: Task, store: Path) -> dict[str, Any]:
    """Write a source's patches, map and record; return the record. Raises HpcSrError if the source cannot be used."""
    name, size_px = job.source.name, options.patch_px
    pair = job.source.pair(training=job.split == "train")
    candidates = patch_origins(*pair.shape, size_px, options.stride_px, task.alignment_px)
    kept, refused = refuse(candidates, size_px, pair.marks, options.refuse.limits())
    origins = np.random.default_rng([options.seed, *hashlib.sha256(name.encode()).digest()]).permutation(kept)
    if job.split == "train":
        origins = origins[: options.patches_per_product]
    entry: ShardEntry | None = None
    sums: statistics.Sums = {}
    seen: looks.Seen | None = None
    if len(origins):
        entry, sums, seen = _write_patches(job, pair, origins, options, task, store)
    if options.maps and has("matplotlib"):
        _draw_map(store / "maps" / f"{name}.png", pair, kept, refused, size_px, task, name)
    record = {
        "fingerprint": job.fingerprint,
        "split": job.split,
        "about": job.source.about(),
        "patches": len(origins),
        "refused": {reason: len(where) for reason, where in refused.items()},
        "found": pair.found,
        "shard": asdict(entry) if entry else None,
        "sums": sums,
        "looks": seen,
    }
    save(record_path(store, name), record)
    return record


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file with its checksum, atomically. Raises OutputError if it cannot be written."""
    with telling(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_sealed(path, content)


def _write_patches(
    job: Job, pair: Pair, origins: np.ndarray, options: PrepareOptions | ImageOptions, task: Task, store: Path
) -> tuple[ShardEntry, statistics.Sums, looks.Seen | None]:
    about = {"task": task.name, "degradation": options.degradation}
    layout = "contiguous" if job.is_part else options.layout
    names = (job.source.name,)
    measured = []
    seen: looks.Seen | None = None
    with ShardWriter(store / job.file, job.layers, len(origins), names, about, layout) as writer:
        for start in range(0, len(origins), _BLOCK_ROWS):
            block = origins[start : start + _BLOCK_ROWS]
            patches = {
                layer.name: cut(pair.layers[layer.name], block, options.patch_px, layer.stride) for layer in task.layers
            }
            writer.append(patches, block)
            measured.append(statistics.measure(patches))
            seen = seen or looks.measure(patches, task)
    return writer.entry(store), statistics.merge(measured), seen


def _draw_map(
    path: Path, pair: Pair, kept: np.ndarray, refused: dict[str, np.ndarray], patch_px: int, task: Task, name: str
) -> None:
    from data_prep.pictures import patch_map, quicklook  # only where maps are wanted and can be drawn

    # The guides of a product hold its visible bands; an image's target is the image itself.
    layer = task.inputs[0] if task.grid_gsd_m else task.target
    image = quicklook(pair.layers[layer.name], layer.bands)
    with telling(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        patch_map(path, image, kept, refused, patch_px, pair.shape, name)
