"""Products and images become a store: read once, degrade, cut, write; shared out to ranks, resumable one by one.

Which patches a source gives, and in which order, depends on the recipe and the source alone, so any number of ranks
writes the same bytes. A finished source leaves a record; a later run that wants the same patches keeps it. Files that
a store no longer needs go once its new manifest is in place.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import rasterio

from data_prep import statistics
from data_prep.belongings import (
    Belongings,
    belongings,
    check_place,
    held_alone,
    publish,
    refuse_removal,
    sweep,
    withdraw_manifest,
)
from data_prep.catalog import product_sources, skipped
from data_prep.images import image_sources
from data_prep.mix import Generation, kept_generations, mix
from data_prep.options import ImageOptions, PrepareOptions
from data_prep.products import in_phases
from data_prep.records import Job, finished, job_of, prepare_source
from data_prep.sources import Source
from data_prep.splits import assign_splits
from data_prep.world import World, on_root
from hpc_sr import __version__
from hpc_sr.config import plain_name
from hpc_sr.disk import telling
from hpc_sr.errors import HpcSrError, OutputError, StoreError
from hpc_sr.extras import has, install
from hpc_sr.logs import Progress, logger
from hpc_sr.shards.schema import FORMAT_VERSION, SPLITS, Manifest, ShardEntry, layers_of
from hpc_sr.tasks import Task


def prepare(
    options: PrepareOptions | ImageOptions, task: Task, store: Path, world: World, share: tuple[int, int] | None = None
) -> Manifest | None:
    """Prepare the store and return its manifest. Collective: every rank calls it.

    With `share` (k, n) only every n-th source from k on is prepared and None returned; a later call without it keeps
    them and finishes the store. All sources are tried. A source that cannot be used is left out, or its error raised
    at the end if `bad_products` says so; what was finished is kept.

    Raises StoreError if the folder is no store's own, if another command writes into it, or if finished patches would
    be removed and `allow_removal` does not say that they may; ManifestError or ChecksumError if it has a manifest
    that cannot be believed.
    """
    on_root(world, lambda: check_place(store))
    with telling(store, doing="prepared"), held_alone(store, world, shared=share is not None):
        return _prepare(options, task, store, world, share)


def _prepare(
    options: PrepareOptions | ImageOptions, task: Task, store: Path, world: World, share: tuple[int, int] | None
) -> Manifest | None:
    found, jobs, unusable = on_root(world, lambda: _plan(options, task, store, whole=share is None))
    generations = kept_generations(store, jobs, options, world, checksums=share is None)
    mixed = {name for generation in generations for name in generation.members}
    if share is not None:
        jobs = jobs[share[0] :: share[1]]

    def look_up(k: int) -> dict[str, Any] | None:
        return finished(jobs[k], store, jobs[k].source.name in mixed, checksums=share is None)

    looked_up = world.share_out(look_up, len(jobs), lambda k, record: None)
    records = {job.source.name: record for job, record in zip(jobs, looked_up, strict=True) if record is not None}
    todo = [job for job in jobs if job.source.name not in records]
    if records:
        logger.info("%d of %d are finished and kept", len(records), len(jobs))
    if todo and options.maps and not has("matplotlib"):
        logger.warning("no maps of patches are drawn without matplotlib: %s", install("report"))
    on_root(world, lambda: withdraw_manifest(store, todo))
    results = _prepare_all(todo, options, task, store, world)
    errors = {name: result for name, result in results.items() if isinstance(result, HpcSrError)}
    records |= {name: result for name, result in results.items() if not isinstance(result, HpcSrError)}
    _raise_what_counts(errors, records, options, share)
    if share is not None:
        return None
    on_root(world, lambda: refuse_removal(found, set(records), options, task, store))
    fresh = [r for name, r in records.items() if r["split"] == "train" and r["patches"] and name not in mixed]
    if not fresh and not mixed:
        raise _no_training(errors)
    if options.shuffle and fresh:
        generations = [*generations, mix(store, fresh, options, task, world)]
    unusable += [skipped(name, error) for name, error in errors.items()]
    manifest = _manifest(records, generations, sorted(unusable, key=lambda s: s["product"]), options, task, jobs)
    owned = replace(found, records=found.records | records, generations=[*found.generations, *generations])
    on_root(world, lambda: publish(store, owned, manifest, generations))
    return manifest


def _plan(
    options: PrepareOptions | ImageOptions, task: Task, store: Path, whole: bool
) -> tuple[Belongings, list[Job], list[dict[str, str]]]:
    """Return what the store has, what there is to do, largest first, and what could not be opened."""
    found = belongings(store)
    with telling(store):
        (store / "records").mkdir(exist_ok=True)
    if whole:
        sweep(store)
    sources, unusable = _find_sources(options, task)
    for line in unusable:
        logger.warning("%s cannot be used: %s: %s", line["product"], line["error"], line["message"])
    left_out = {line["product"]: line["message"] for line in unusable}
    assigned = in_phases(assign_splits(sources, options.split, left_out))
    refuse_removal(found, {source.name for source, _ in assigned}, options, task, store)
    jobs = [job_of(source, split, options, task) for source, split in assigned]
    jobs.sort(key=lambda job: (-job.source.size_bytes, job.source.name))
    return found, jobs, unusable


def _find_sources(options: PrepareOptions | ImageOptions, task: Task) -> tuple[list[Source], list[dict[str, str]]]:
    """Return the sources that can be used, and those that cannot: a name becomes that of files."""
    sources: Sequence[Source]
    if isinstance(options, ImageOptions):
        sources, unusable = image_sources(options, task)
    else:
        sources, unusable = product_sources(options, task)
    named: list[Source] = []
    for source in sources:
        try:
            plain_name(source.name)
            named.append(source)
        except ValueError as error:
            wrong = StoreError(str(error), where=ascii(source.name), cure="rename the file or folder")
            if options.bad_products == "fail" or len(sources) == 1:
                raise wrong from error
            unusable = [*unusable, skipped(source.name, wrong)]
    return named, unusable


def _prepare_all(
    todo: list[Job], options: PrepareOptions | ImageOptions, task: Task, store: Path, world: World
) -> dict[str, dict[str, Any] | HpcSrError]:
    """Return each source's record, or the error that says why it cannot be used."""

    def attempt(k: int) -> dict[str, Any] | HpcSrError:
        try:
            return prepare_source(todo[k], options, task, store)
        except HpcSrError as error:
            return error

    def told(k: int, result: dict[str, Any] | HpcSrError) -> None:
        name = todo[k].source.name
        if isinstance(result, HpcSrError):
            logger.warning("%s cannot be used: %s: %s", name, type(result).__name__, result)
            line = "no patches"
        else:
            refused = ", ".join(f"{count} {reason}" for reason, count in result["refused"].items() if count)
            line = f"{result['patches']} patches, refused: {refused or 'none'}"
        progress.advance(todo[k].source.size_bytes, f"{name}: {line}")

    total_bytes = sum(job.source.size_bytes for job in todo)
    what = "images" if isinstance(options, ImageOptions) else "products"
    with Progress(total_bytes, len(todo), what, world.rank == 0) as progress:
        results = world.share_out(attempt, len(todo), told)
    return {job.source.name: result for job, result in zip(todo, results, strict=True)}


def _raise_what_counts(
    errors: dict[str, HpcSrError],
    records: dict[str, Any],
    options: PrepareOptions | ImageOptions,
    share: tuple[int, int] | None,
) -> None:
    """Raise an error that is the store's and not a source's, or the first if it must not or cannot be gone past."""
    for error in errors.values():
        if isinstance(error, OutputError) or options.bad_products == "fail" or (not records and share is None):
            raise error


def _no_training(errors: dict[str, HpcSrError]) -> HpcSrError:
    hint = f"; {len(errors)} cannot be used, the first because: {next(iter(errors.values()))}" if errors else ""
    return StoreError(f"no patch is left to train on{hint}", cure="see the refusals above; add products")


def _manifest(
    records: dict[str, dict[str, Any]],
    generations: list[Generation],
    unusable: list[dict[str, str]],
    options: PrepareOptions | ImageOptions,
    task: Task,
    jobs: list[Job],
) -> Manifest:
    mixed = {name for generation in generations for name in generation.members}
    ordered = [records[name] for name in sorted(records)]
    splits = {
        split: tuple(
            ShardEntry.from_json(record["shard"])
            for name, record in sorted(records.items())
            if record["split"] == split and record["patches"] and name not in mixed
        )
        for split in SPLITS
    }
    entries = [entry for generation in sorted(generations, key=lambda g: g.name) for entry in generation.shards]
    sums = statistics.merge([r["sums"] for r in ordered if r["split"] == "train" and r["patches"]])
    products = tuple(
        r["about"]
        | {"split": r["split"], "patches": r["patches"], "refused": r["refused"], "looks": r.get("looks")}
        | r["found"]
        for r in ordered
    )
    return Manifest(
        format_version=FORMAT_VERSION,
        task=task.name,
        patch_px=options.patch_px,
        stride_px=options.stride_px,
        degradation="given" if isinstance(options, ImageOptions) and options.lr else options.degradation,
        level=jobs[0].source.level,
        layout=options.layout,
        units=_units(options, ordered),
        layers=layers_of(task, options.patch_px),
        splits={**splits, "train": (*entries, *splits["train"])},
        products=products,
        skipped=tuple(unusable),
        statistics=statistics.finish(sums),
        sums=sums,
        settings=options.model_dump(mode="json", exclude={"allow_removal"}),
        software=versions(),
    )


def _units(options: PrepareOptions | ImageOptions, records: list[dict[str, Any]]) -> str:
    if isinstance(options, PrepareOptions) or (options.products and options.values == "reflectance"):
        return "reflectance x 10000"
    # Only files say how deep they are: a product's bands are stretched to 8 bits.
    depths = sorted({record["found"].get("bits", 8) for record in records if record["patches"]})
    if len(depths) > 1:
        raise StoreError("images of 8 and of 16 bits meet in one store", cure="prepare one store per depth")
    return f"{depths[0]} bit"


def versions() -> dict[str, str]:
    """Return the versions of what made the store."""
    return {
        "hpc_sr": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "h5py": h5py.__version__,
        "rasterio": rasterio.__version__,
        "gdal": rasterio.__gdal_version__,
    }
