"""What in a folder is a store's own: nothing else is ever removed, and finished patches only with a word.

A record of a product owns the product's files, a generation its shards, a manifest what it lists. What none of them
knows is left alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from data_prep.mix import Generation, read_generation
from data_prep.options import ImageOptions, PrepareOptions
from data_prep.records import BESIDE_THE_PATCHES, Job, read_record
from data_prep.world import World, on_root
from hpc_sr.disk import is_there, sweep_partials, telling
from hpc_sr.errors import HpcSrError, StoreError
from hpc_sr.locks import NO_LOCKS, lock, unlock
from hpc_sr.logs import logger
from hpc_sr.shards.schema import Manifest, read_manifest, write_manifest
from hpc_sr.tasks import Task

T = TypeVar("T")
FOLDERS = ("records", "shards", "parts", "generations", "maps")
#: How long a command that was killed may seem to live: file servers keep the locks of a dead node for a minute or two.
_PATIENCE_S = 120.0
#: Names that a message gives before it says how many more there are.
_TOLD = 5


@dataclass(frozen=True)
class Belongings:
    """What a store has from earlier runs: its manifest, if there is one, records by product, and generations."""

    manifest: Manifest | None
    records: dict[str, dict[str, Any]]
    generations: list[Generation]

    def products(self) -> set[str]:
        """Return the names of all products with finished patches."""
        lines = self.manifest.products if self.manifest else ()
        found = {line["product"] for line in lines if line.get("patches")}
        return found | {name for name, record in self.records.items() if record["patches"]}

    def files(self) -> list[str]:
        """Return the paths in the store of all that belongs to it, what is listed before what lists it."""
        lines = self.manifest.products if self.manifest else ()
        names = sorted({line["product"] for line in lines} | self.records.keys())
        mixed = [entry.file for generation in self.generations for entry in generation.shards]
        listed = [entry.file for entries in self.manifest.splits.values() for entry in entries] if self.manifest else []
        held = [f"{place.format(name)}" for name in names for place in ("parts/{}.h5", "shards/{}.h5", "maps/{}.png")]
        lists = [f"generations/{generation.name}.json" for generation in self.generations]
        return list(dict.fromkeys([*listed, *mixed, *held, *lists, *(f"records/{name}.json" for name in names)]))


def check_place(store: Path) -> None:
    """Raise StoreError unless the folder is a store, or one that a store can be made of: new, empty or begun."""
    dots = set(os.path.normpath(store).split("/")) <= {"", ".", ".."}
    if dots or os.path.realpath(store) in ("/", os.path.realpath(os.path.expanduser("~"))):
        raise StoreError("is no folder of a store's own", where=store, cure="name one, for example stores/s2x")
    if is_there(store / "manifest.json") or not store.is_dir():
        return
    with telling(store, StoreError, "read"):
        inside = {path.name for path in store.iterdir() if not path.name.startswith(".")}
    foreign = inside - {*FOLDERS, "contact_sheet.png"}
    if inside and ("records" not in inside or (foreign and not _read_all(store, "records", read_record))):
        raise StoreError(
            f"holds {_some(foreign or inside)} and no manifest: it is no store, or has lost its manifest",
            where=store,
            cure="name another folder; if it was a store, put its manifest.json back (or merge again what it was "
            "merged from)",
        )


@contextmanager
def held_alone(store: Path, world: World, shared: bool) -> Iterator[None]:
    """Keep other commands from the store for the time of the block; `shared` lets those in that share the work.

    Collective: rank 0 holds the lock, wherever ranks are. Raises StoreError telling who holds the store.
    """
    path, held = store / ".lock", []

    def take() -> None:
        with telling(store):
            store.mkdir(parents=True, exist_ok=True)
            try:
                held.append(lock(path, shared=shared, patience_s=_PATIENCE_S, waiting=tell))
            except BlockingIOError as error:
                cure = "wait until that is done, or prepare another store"
                raise StoreError(str(error.strerror), where=store, cure=cure) from error
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                logger.warning("%s: its file system has no locks, so nobody notices two commands at once", store)

    def tell(holders: str) -> None:
        logger.warning("%s is held by %s: waiting %.0f s", store, holders, _PATIENCE_S)

    on_root(world, take)
    try:
        yield
    finally:
        for file in held:
            unlock(path, file)


def belongings(store: Path) -> Belongings:
    """Return what the store has. Warns of records that are not believed: their products are prepared again.

    Raises ManifestError or ChecksumError if there is a manifest that cannot be read; StoreError if the store was
    merged from others: preparing into it would throw their patches away.
    """
    manifest = read_manifest(store) if is_there(store / "manifest.json") else None
    if manifest is not None and "merged" in manifest.settings:
        raise StoreError("was merged from other stores", where=store, cure="prepare another store and merge it too")
    return Belongings(manifest, *records_and_generations(store))


def records_and_generations(store: Path) -> tuple[dict[str, dict[str, Any]], list[Generation]]:
    """Return the records of a store by product, and its generations. Warns of those that are not believed."""
    generations = _read_all(store, "generations", read_generation)
    return _read_all(store, "records", read_record), list(generations.values())


def sweep(store: Path) -> None:
    """Remove what killed runs left half-written in a store."""
    for folder in (".", *FOLDERS):
        for path in sweep_partials(store / folder):
            logger.info("%s: removed, left half-written by a killed run", path)


def refuse_removal(
    found: Belongings, kept: set[str], options: PrepareOptions | ImageOptions, task: Task, store: Path
) -> None:
    """Raise StoreError if finished patches would go that nobody has said may: of products that are not among those
    kept, or of all because the settings are others."""
    lost, before = found.products() - kept, found.manifest
    now = {"task": task.name, **options.model_dump(mode="json", exclude=set(BESIDE_THE_PATCHES))}
    then = {"task": before.task, **before.settings} if before else {}
    changed = [f"{key} {then[key]!r}, now {now[key]!r}" for key in now if key in then and then[key] != now[key]]
    reasons = [f"those of {_some(lost)}, which the recipe no longer gives or which cannot be used"] if lost else []
    reasons += [f"all of them, for other settings ({'; '.join(changed)})"] if changed and found.products() else []
    if not reasons:
        return
    if options.allow_removal:
        logger.warning("%s: finished patches are removed: %s", store, " and ".join(reasons))
        return
    section = "images" if isinstance(options, ImageOptions) else "prepare"
    raise StoreError(
        f"finished patches would be removed: {' and '.join(reasons)}",
        where=store,
        cure=f"prepare another store, or say {section}.allow_removal=true",
    )


def withdraw_manifest(store: Path, todo: list[Job]) -> None:
    """Remove the manifest before a shard that it may list is written anew: a killed run leaves no wrong store."""
    if any((store / job.file).exists() for job in todo if not job.is_part):
        with telling(store / "manifest.json", doing="removed"):
            (store / "manifest.json").unlink(missing_ok=True)


def publish(store: Path, owned: Belongings, manifest: Manifest, generations: list[Generation]) -> None:
    """Put the manifest in place, then remove what it does not need.

    That is also what ranks left half-written that were still dying when this run began.
    """
    before = owned.manifest
    if before and before.splits["train"] == manifest.splits["train"] and before.sums != manifest.sums:
        raise StoreError(
            "add up to other statistics than the manifest has of the same shards: one was changed",
            where=store / "records",
            cure="move records/ away and run `hpc-sr prepare` again: all products are read again",
        )
    with telling(store / "manifest.json"):
        write_manifest(store, manifest)
    sweep(store)
    _remove_unneeded(store, owned, manifest, generations)


def _remove_unneeded(store: Path, owned: Belongings, manifest: Manifest, generations: list[Generation]) -> None:
    """Remove what belonged to the store and belongs no more. Raises OutputError if something cannot be removed."""
    names = {product["product"] for product in manifest.products}
    shards = {entry.file for entries in manifest.splits.values() for entry in entries}
    kept = {f"generations/{generation.name}.json" for generation in generations}
    needed = {*shards, *kept, *(f"records/{name}.json" for name in names), *(f"maps/{name}.png" for name in names)}
    for file in owned.files():
        if file not in needed:
            with telling(store / file, doing="removed"):
                (store / file).unlink(missing_ok=True)
    for folder in ("parts", "generations"):
        with telling(store / folder, doing="removed"):
            if (store / folder).is_dir() and not any((store / folder).iterdir()):
                (store / folder).rmdir()
    strange = {f"{folder}/{path.name}" for folder in FOLDERS for path in (store / folder).glob("[!.]*")} - needed
    if strange:
        logger.warning("%s: %s belong to no product of the store and are left alone", store, _some(strange))


def _read_all(store: Path, folder: str, read: Callable[[Path], T]) -> dict[str, T]:
    """Return what the JSON files in a folder hold, by their names, without those that are not to be believed."""
    found = {}
    for path in sorted((store / folder).glob("[!.]*.json")):
        try:
            found[path.stem] = read(path)
        except HpcSrError as error:
            logger.warning("%s is not believed: %s", path, error.problem)
    return found


def _some(names: set[str]) -> str:
    told = sorted(names)
    more = f" and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    return ", ".join(told[:_TOLD]) + more
