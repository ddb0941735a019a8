"""What is in a store, for eyes: tables, a contact sheet of its patches; and whether it is still what was written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from data_prep.belongings import records_and_generations
from data_prep.world import World
from hpc_sr.disk import check_writable
from hpc_sr.errors import HpcSrError
from hpc_sr.extras import has, install, need
from hpc_sr.logs import Progress, logger
from hpc_sr.shards.reader import Store
from hpc_sr.shards.schema import SPLITS
from hpc_sr.tasks import shown_bands

_SHEET_PATCHES, _SHEET_SEED = 24, 0


def inspect(path: Path, sheet: Path | None, as_json: bool = False) -> None:
    """Print what a store holds and draw a contact sheet, by default in the store; with `as_json` only if asked to.

    Reads the manifest and the patches that it draws, not whole shards: see `verify`. Raises ManifestError or
    ChecksumError for a damaged manifest, OutputError if the sheet cannot be written.
    """
    store = Store(path)
    if sheet is None and not as_json:
        if has("matplotlib"):
            sheet = path / "contact_sheet.png"
        else:
            logger.warning("no contact sheet is drawn without matplotlib: %s", install("report"))
    if sheet is not None:
        need("matplotlib", "report", "a contact sheet")
        check_writable(sheet)
        _draw(store, sheet)
    found = facts(store)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    # Piped into a file the tables are as wide as they need to be.
    width = None if Console().is_terminal else 200
    console = Console(width=width, markup=False, emoji=False)  # names are text
    for table in (_identity(found), _splits(found), _products(found), _skipped(found), _statistics(found)):
        if table.rows:
            console.print(table)
    if sheet is not None:
        console.print(f"contact sheet: {sheet}", soft_wrap=True, highlight=False)


def facts(store: Store) -> dict[str, Any]:
    """Return what a store is and holds, for JSON; statistics by layer and band."""
    manifest = store.manifest
    names = ("format_version", "task", "level", "degradation", "layout", "patch_px", "stride_px", "units")
    identity: dict[str, Any] = {"store": str(store.path), **{name: getattr(manifest, name) for name in names}}
    identity["mtf_jitter"] = manifest.settings.get("mtf_jitter", 0.0)
    splits = {
        split: {
            "shards": len(manifest.splits[split]),
            "patches": manifest.rows(split),
            "bytes": sum(entry.bytes for entry in manifest.splits[split]),
        }
        for split in SPLITS
    }
    statistics = {
        layer: {
            band: {"mean": mean, "std": std}
            for band, mean, std in zip(manifest.layers[layer]["bands"], sums["mean"], sums["std"], strict=True)
        }
        for layer, sums in manifest.statistics.items()
    }
    return {
        **identity,
        "software": manifest.software,
        "splits": splits,
        "blocks": {
            split: sum(len(line["bounds_m"]) for line in blocks.values())
            for split in SPLITS
            if (blocks := manifest.blocks(split))
        },
        "products": list(manifest.products),
        "skipped": list(manifest.skipped),
        "statistics": statistics,
    }


def verify(path: Path, world: World) -> list[HpcSrError]:
    """Return what is wrong with each damaged shard of a store, having read all of them. Collective.

    Warns of records and generations that were changed: they cost no patch, their products are prepared again.
    Raises ManifestError or ChecksumError if the manifest itself is damaged.
    """
    store = Store(path)
    if world.rank == 0:
        records_and_generations(path)
    entries = [entry for split in SPLITS for entry in store.manifest.splits[split]]

    def check(k: int) -> HpcSrError | None:
        return next(error for _, error in store.damaged(k, len(entries)))

    def told(k: int, error: HpcSrError | None) -> None:
        progress.advance(entries[k].bytes, f"{entries[k].file}: {'good' if error is None else 'DAMAGED'}")

    with Progress(sum(entry.bytes for entry in entries), len(entries), "shards", world.rank == 0) as progress:
        return [error for error in world.share_out(check, len(entries), told) if error is not None]


def _draw(store: Store, sheet: Path) -> None:
    """Write a contact sheet of patches drawn by a fixed seed, from each split alike, each with all of its layers.

    What shows the same bands of one product is in one stretch: a dark product is seen beside a bright one, and a
    coarse layer is comparable with its target.
    """
    from data_prep.pictures import common_stretch, contact_sheet, quicklook  # with matplotlib

    manifest = store.manifest
    layers = {name: tuple(layer["bands"]) for name, layer in manifest.layers.items()}
    products = {product["product"]: product for product in manifest.products}
    drawn: list[tuple[str, str, np.ndarray, str]] = []
    for split, reader, row in _drawn(store):
        name, (y, x) = str(reader.products()[row]), reader.origins()[row]
        about = products.get(name)
        date = about.get("sensing_time", "")[:10] if about else ""
        place = f"{about and about.get('tile') or name} {date}".strip()
        caption = f"{place[:27]}\n{split} at {y}, {x}"
        for layer, bands in layers.items():
            patch = np.empty((1, *manifest.layers[layer]["shape"]), np.int16)
            reader.take(layer, np.array([row]), patch)
            drawn.append((name, layer, patch[0], f"{caption}\n{layer}: {' '.join(shown_bands(bands))}"))
            caption = "\n"
    alike: dict[tuple[str, tuple[str, ...]], list[np.ndarray]] = {}
    for name, layer, patch, _ in drawn:
        shown = [layers[layer].index(band) for band in shown_bands(layers[layer])]
        alike.setdefault((name, shown_bands(layers[layer])), []).append(patch[shown])
    stretches = {key: common_stretch(patches, key[1]) for key, patches in alike.items()}
    pictures = [
        (quicklook(patch, layers[layer], stretches[name, shown_bands(layers[layer])]), caption)
        for name, layer, patch, caption in drawn
    ]
    total = sum(manifest.rows(split) for split in SPLITS)
    count = len(drawn) // len(layers)
    title = f"{store.path.resolve().name}: {count} of {total} patches in all layers, stretched by product"
    contact_sheet(sheet, pictures, title, together=len(layers))


def _drawn(store: Store) -> Iterator[tuple[str, Any, int]]:
    """Yield (split, shard, row) of the patches to draw."""
    rng = np.random.default_rng(_SHEET_SEED)
    filled = [split for split in SPLITS if store.manifest.rows(split)]
    for place, split in enumerate(filled):
        wanted = _SHEET_PATCHES // len(filled) + (place < _SHEET_PATCHES % len(filled))
        readers, rows = store.split(split), store.manifest.rows(split)
        ends = np.cumsum([reader.rows for reader in readers])
        for number in np.sort(rng.choice(rows, min(wanted, rows), replace=False)):
            shard = int(np.searchsorted(ends, number, side="right"))
            yield split, readers[shard], int(number - ends[shard] + readers[shard].rows)


def _identity(found: dict[str, Any]) -> Table:
    table = Table("store", found["store"], box=box.SIMPLE)
    jitter = f", shifted by up to {found['mtf_jitter']}" if found["mtf_jitter"] else ""
    table.add_row("task", found["task"])
    table.add_row("level", found["level"] or "images")
    table.add_row("degradation", found["degradation"] + jitter)
    table.add_row("patches", f"{found['patch_px']} px every {found['stride_px']} px of the target grid")
    for split, blocks in found["blocks"].items():
        table.add_row(f"{split} on", f"{blocks} held-out blocks: easier than unseen ground")
    table.add_row("units", found["units"])
    table.add_row("layout", f"{found['layout']}, format {found['format_version']}")
    table.add_row("software", ", ".join(f"{name} {version}" for name, version in found["software"].items()))
    return table


def _splits(found: dict[str, Any]) -> Table:
    table = _table("split", numbers=("shards", "patches", "MB"))
    for split, told in found["splits"].items():
        table.add_row(split, str(told["shards"]), f"{told['patches']:,}", f"{told['bytes'] / 1e6:,.1f}")
    return table


def _products(found: dict[str, Any]) -> Table:
    table = _table("product", "tile", "date", "baseline", "satellite", "split", numbers=("patches", "refused"))
    for product in found["products"]:
        counts = product.get("refused", {})
        refused = ", ".join(f"{count:,} {reason}" for reason, count in counts.items() if count) or "none"
        words = (str(product.get(key, "")) for key in ("tile", "sensing_time", "processing_baseline", "satellite"))
        tile, date, baseline, satellite = words
        # An image's tile is its name.
        tile = "" if tile == product["product"] else tile
        table.add_row(
            product["product"],
            tile,
            date[:10],
            baseline,
            satellite,
            product["split"],
            f"{product.get('patches', 0):,}",
            refused,
        )
    return table


def _skipped(found: dict[str, Any]) -> Table:
    table = _table("skipped", "error", "because")
    for product in found["skipped"]:
        table.add_row(product["product"], product["error"], product["message"])
    return table


def _statistics(found: dict[str, Any]) -> Table:
    table = _table("layer", "band", numbers=("mean", "std"))
    for layer, bands in found["statistics"].items():
        for band, told in bands.items():
            table.add_row(layer, band, f"{told['mean']:,.1f}", f"{told['std']:,.1f}")
    return table


def _table(*words: str, numbers: tuple[str, ...] = ()) -> Table:
    table = Table(*words, box=box.SIMPLE)
    for name in numbers:
        table.add_column(name, justify="right")
    return table
