"""The global shuffle: training patches of all sources go round-robin over shards, and are shuffled within each.

A generation is a set of sources that were mixed together. It is named after its members and their patches, so the
same members give the same files and bytes again; sources that come later make a further generation.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter

from data_prep.options import ImageOptions, PrepareOptions
from data_prep.records import Job, is_whole, record_of, save
from data_prep.world import World
from hpc_sr.config import PlainName
from hpc_sr.errors import HpcSrError, ManifestError
from hpc_sr.logs import Progress
from hpc_sr.shards.reader import ShardReader
from hpc_sr.shards.schema import Layer, ShardEntry, layers_of
from hpc_sr.shards.sealed import as_kind, read_object, unsealed
from hpc_sr.shards.writer import ShardWriter
from hpc_sr.tasks import Task

#: Bytes of patches that are gathered from the parts at a time: bounds memory, not the result.
_BLOCK_BYTES = 256 << 20
_MEND = "delete it: its products are prepared and mixed again"


@dataclass(frozen=True)
class Generation:
    """Sources by name with their fingerprints, and the shards that hold the patches of all of them."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern="^train-[0-9a-f]{8}$")]
    members: dict[PlainName, str]
    shards: tuple[ShardEntry, ...]


def kept_generations(
    store: Path, jobs: list[Job], options: PrepareOptions | ImageOptions, world: World, checksums: bool
) -> list[Generation]:
    """Return earlier generations all of whose members are wanted with the same patches, and whose shards are whole.

    No two of them share a member. Collective: the ranks share out the reading of the shards.
    """
    candidates = world.broadcast(_candidates(store, jobs, options) if world.rank == 0 else None)
    entries = [entry for generation in candidates for entry in generation.shards]
    found = world.share_out(lambda k: is_whole(store, entries[k], checksums), len(entries), lambda k, whole: None)
    damaged = {entry.file for entry, whole in zip(entries, found, strict=True) if not whole}
    kept: list[Generation] = []
    for generation in sorted(candidates, key=lambda g: (-len(g.members), g.name)):
        taken = {name for earlier in kept for name in earlier.members}
        if not taken & set(generation.members) and not damaged & {entry.file for entry in generation.shards}:
            kept.append(generation)
    return sorted(kept, key=lambda g: g.name)


def mix(
    store: Path, records: list[dict[str, Any]], options: PrepareOptions | ImageOptions, task: Task, world: World
) -> Generation:
    """Return the new generation of the sources with these records, after writing its shards. Collective.

    Row i of all patches, sources in the order of their names, goes to shard i modulo the number of shards; the order
    within a shard is drawn by `options.seed`.
    """
    parts = sorted((ShardEntry.from_json(record["shard"]) for record in records), key=lambda part: part.products)
    members = {record["shard"]["products"][0]: record["fingerprint"] for record in records}
    name = _name(members, options)
    count = -(-sum(part.rows for part in parts) // options.shard_rows)
    row_bytes = sum(part.bytes for part in parts) // count

    def write(number: int) -> ShardEntry:
        return _write_shard(store, f"shards/{name}-{number:04d}.h5", parts, number, count, options, task)

    with Progress(row_bytes * count, count, "shards", world.rank == 0) as progress:
        shards = world.share_out(write, count, lambda k, entry: progress.advance(row_bytes, entry.file))
    generation = Generation(name, dict(sorted(members.items())), tuple(shards))
    if world.rank == 0:
        save(store / "generations" / f"{name}.json", asdict(generation))
    return generation


def read_generation(path: Path) -> Generation:
    """Return the generation in a file. One without a checksum, as they once were, is believed if it holds together.

    Raises ManifestError if it cannot be read or does not hold together; ChecksumError if it was changed.
    """
    content, _ = unsealed(read_object(path, _MEND), path, _MEND)
    generation: Generation = as_kind(_GENERATION, content, path, _MEND)
    name, shards = generation.name, generation.shards
    numbered = [f"shards/{name}-{number:04d}.h5" for number in range(len(shards))]
    mixed = {product for shard in shards for product in shard.products}
    if name != path.stem or not shards or [s.file for s in shards] != numbered or mixed != set(generation.members):
        raise ManifestError("does not tell of shards of its own that hold its members", where=path, cure=_MEND)
    return generation


def _candidates(store: Path, jobs: list[Job], options: PrepareOptions | ImageOptions) -> list[Generation]:
    records = {job.source.name: record for job in jobs if job.is_part and (record := record_of(job, store)) is not None}
    candidates = []
    for path in sorted((store / "generations").glob("[!.]*.json")):
        try:
            generation = read_generation(path)
        except HpcSrError:
            continue  # told already, by what looks through the store
        members = [records.get(name) for name in generation.members]
        patches = [
            r["patches"]
            for r, digest in zip(members, generation.members.values(), strict=True)
            if r and r["fingerprint"] == digest
        ]
        whole = len(patches) == len(members) and sum(patches) == sum(shard.rows for shard in generation.shards)
        if whole and generation.name == _name(generation.members, options):
            candidates.append(generation)
    return candidates


_GENERATION = TypeAdapter(Generation)


def _name(members: dict[str, str], options: PrepareOptions | ImageOptions) -> str:
    """Return "train-" and a digest of all that decides the shards: fingerprints hold the other settings."""
    facts = [sorted(members.items()), options.seed, options.shard_rows, options.layout]
    return f"train-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:8]}"


def _write_shard(
    store: Path,
    file: str,
    parts: list[ShardEntry],
    number: int,
    count: int,
    options: PrepareOptions | ImageOptions,
    task: Task,
) -> ShardEntry:
    starts = np.cumsum([0, *(part.rows for part in parts)])
    rows_of = [
        np.arange((number - start) % count, part.rows, count) for start, part in zip(starts, parts, strict=False)
    ]
    present = [k for k, rows in enumerate(rows_of) if len(rows)]
    # Which of the present parts, and which row of it, each row of the shard comes from.
    origin = np.concatenate([np.stack([np.full(len(rows_of[k]), i), rows_of[k]], 1) for i, k in enumerate(present)])
    digest = hashlib.sha256(file.encode()).digest()
    origin = np.random.default_rng([options.seed, *digest]).permutation(origin)
    layers, names = layers_of(task, options.patch_px), tuple(parts[k].products[0] for k in present)
    about = {"task": task.name, "degradation": options.degradation}
    row_bytes = sum(2 * int(np.prod(layer["shape"])) for layer in layers.values())
    step = max(1, _BLOCK_BYTES // row_bytes)
    with ShardWriter(store / file, layers, len(origin), names, about, options.layout) as writer:
        for start in range(0, len(origin), step):
            block = origin[start : start + step]
            patches = {name: np.empty((len(block), *layer["shape"]), np.int16) for name, layer in layers.items()}
            places = np.empty((len(block), 2), np.int32)
            for i, k in enumerate(present):
                _gather(store, parts[k], layers, block, i, patches, places)
            writer.append(patches, places, block[:, 0])
    return writer.entry(store)


def _gather(
    store: Path,
    part: ShardEntry,
    layers: dict[str, Layer],
    block: np.ndarray,
    which: int,
    patches: dict[str, np.ndarray],
    places: np.ndarray,
) -> None:
    """Fill in the block's rows that come from one part, read in the order in which they lie in it."""
    targets = np.flatnonzero(block[:, 0] == which)
    targets = targets[np.argsort(block[targets, 1])]
    rows = block[targets, 1]
    # A reader of its own for each block: pages of a part that were read leave this process's memory with it.
    reader = ShardReader(store / part.file, part.rows, layers)
    for name, values in patches.items():
        found = np.empty((len(rows), *values.shape[1:]), np.int16)
        reader.take(name, rows, found)
        values[targets] = found
    places[targets] = reader.origins()[rows]
