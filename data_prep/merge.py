"""Prepared stores become one, without preparing anything again: shards are linked, statistics added up."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_prep import statistics
from data_prep.belongings import check_place
from hpc_sr.disk import is_there, partial_of, sweep_partials, telling
from hpc_sr.errors import DegradationError, HpcSrError, LeakageError, MixedLevelsError, StoreError
from hpc_sr.shards.reader import Store
from hpc_sr.shards.schema import SPLITS, Manifest, write_manifest

#: What must be alike, in the order in which it is compared, and the error that tells when it is not.
_ALIKE: dict[str, type[HpcSrError]] = {
    "task": StoreError,
    "patch_px": StoreError,
    "stride_px": StoreError,
    "degradation": DegradationError,
    "level": MixedLevelsError,
    "layers": StoreError,
    "units": StoreError,
    "layout": StoreError,
}


def merge(out: Path, stores: list[Path]) -> Manifest:
    """Write a store with the patches of all the given ones, and return its manifest. It is whole or absent.

    Shards are hard links where the file system allows it: the given stores may go, and take no space twice.
    Raises DegradationError, MixedLevelsError or StoreError if the stores differ in what a store holds one of;
    StoreError if a product is in two of them or `out` exists; LeakageError if a tile is trained on in one and held
    out in another; ManifestError if a store or shard is damaged by its size; OutputError if `out` cannot be written.
    """
    opened = [Store(path) for path in stores]
    if len(opened) < 2:
        raise StoreError(f"{len(opened)} is too few to merge", where=out, cure="name two stores or more")
    for other in opened[1:]:
        _check_alike(opened[0], other)
    _check_apart(opened)
    for store in opened:
        for split in SPLITS:
            store.split(split)
    check_place(out)
    with telling(out):
        if is_there(out) and (not out.is_dir() or any(out.iterdir())):
            raise StoreError("is there already", where=out, cure="name a folder that does not exist yet")
    manifest = _merged([store.manifest for store in opened])
    beside = partial_of(out)
    try:
        with telling(out):
            sweep_partials(out.parent, out.name)
            beside.mkdir(parents=True)
            for store in opened:
                _link_files(store, beside)
            write_manifest(beside, manifest)
            beside.replace(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return manifest


def _check_alike(first: Store, other: Store) -> None:
    for key, kind in _ALIKE.items():
        ours, theirs = getattr(first.manifest, key), getattr(other.manifest, key)
        if ours != theirs:
            raise kind(
                f"has {key} {theirs!r}, {first.path} has {ours!r}",
                where=other.path,
                cure="merge stores that were prepared with the same settings",
            )


def _check_apart(stores: list[Store]) -> None:
    """Raise if two of the stores hold the same product, or the same tile on different sides of training."""
    names: dict[str, Path] = {}
    sides: dict[str, dict[bool, Path]] = {}
    for store in stores:
        for product in store.manifest.products:
            name, place = product["product"], product.get("tile") or product["product"]
            if name in names:
                raise StoreError(
                    f"holds {name}, and so does {names[name]}", where=store.path, cure="leave one of the stores out"
                )
            names[name] = store.path
            training = product["split"] == "train"
            across = sides.setdefault(place, {}).get(not training, store.path)
            if across != store.path:
                raise LeakageError(
                    f"tile {place} is {'trained on' if training else 'held out'} here, and "
                    f"{'held out' if training else 'trained on'} in {across}",
                    where=store.path,
                    cure="prepare the stores with one list of tiles for each split",
                )
            sides[place].setdefault(training, store.path)


def _merged(manifests: list[Manifest]) -> Manifest:
    def joined(field: str) -> tuple[Any, ...]:
        lines = [line for manifest in manifests for line in getattr(manifest, field)]
        return tuple(sorted(lines, key=lambda line: line["product"]))

    sums = statistics.merge([manifest.sums for manifest in manifests])
    splits = {split: tuple(e for manifest in manifests for e in manifest.splits[split]) for split in SPLITS}
    settings = {"merged": [manifest.settings for manifest in manifests]}
    return replace(
        manifests[0],
        splits=splits,
        products=joined("products"),
        skipped=joined("skipped"),
        sums=sums,
        statistics=statistics.finish(sums),
        settings=settings,
    )


def _link_files(store: Store, folder: Path) -> None:
    entries = [entry.file for entries in store.manifest.splits.values() for entry in entries]
    maps = [f"maps/{product['product']}.png" for product in store.manifest.products]
    for file in [*entries, *(name for name in maps if (store.path / name).exists())]:
        target = folder / file
        target.parent.mkdir(exist_ok=True)
        try:
            os.link(store.path / file, target)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP):
                raise
            shutil.copyfile(store.path / file, target)
            with target.open("rb") as copied:
                os.fsync(copied.fileno())
